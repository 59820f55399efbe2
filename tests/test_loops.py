"""What a step of a loop does, read from compilers' output (recorded: accelerators/record.py)."""

import gzip
import json
import pathlib

import pytest

from tlstm_jax.devices.loops import Loop, main_loops, of_text, of_thunks

RECORDED = pathlib.Path(__file__).parent / "data" / "compiled.json.gz"
# (direction, steps, times, depth), (kernels, launches, copies, products, library calls)
FOUND = {
    "lstm h200": [
        (("outside", 1, 1, 0), (16, 5, 2, 2, 0)),
        (("forward", 52, 52, 0), (11, 1, 3, 1, 0)),
        (("backward", 52, 52, 0), (7, 1, 0, 1, 0)),
    ],
    # The T steps and the L - 1 that flush; those back in chunks, each with weight gradients behind
    # it.
    "tlstm-2d h200": [
        (("outside", 1, 1, 0), (47, 7, 4, 2, 1)),
        (("forward", 52, 52, 0), (23, 23, 6, 2, 1)),
        (("forward", 6, 6, 0), (23, 23, 6, 2, 1)),
        (("backward", 6, 6, 0), (19, 3, 0, 5, 1)),
        (("backward", 2, 2, 0), (19, 5, 2, 2, 1)),
        (("backward", 26, 52, 1), (19, 3, 0, 5, 1)),
    ],
    "lstm v5e:2x2": [
        (("outside", 1, 1, 0), (12, None, 3, 3, 0)),
        (("forward", 52, 52, 0), (7, None, 2, 1, 0)),
        (("backward", 52, 52, 0), (7, None, 1, 1, 0)),
    ],
    "tlstm-2d v5e:2x2": [
        (("outside", 1, 1, 0), (44, None, 16, 4, 0)),
        (("forward", 52, 52, 0), (22, None, 2, 3, 0)),
        (("forward", 6, 6, 0), (21, None, 1, 3, 0)),
        (("backward", 6, 6, 0), (41, None, 5, 6, 0)),
        (("backward", 2, 2, 0), (18, None, 4, 3, 0)),
        (("backward", 26, 52, 1), (35, None, 4, 6, 0)),
    ],
}

TEXT = """HloModule jit_f, is_scheduled=true

FileNames
1 "f.py"

%first (x: f32[2,2]) -> f32[2,2] {
  %x = f32[2,2]{1,0} parameter(0)
  ROOT %dot.1 = f32[2,2]{1,0} dot(%x, %x)
}

%second (x.1: f32[2,2]) -> f32[2,2] {
  %x.1 = f32[2,2]{1,0} parameter(0)
  ROOT %fusion.9 = f32[2,2]{1,0} fusion(%x.1), kind=kLoop, calls=%first
}

%inner_body (s: (s32[], f32[2,2])) -> (s32[], f32[2,2]) {
  %s = (s32[]{:T(128)}, f32[2,2]{1,0:T(8,128)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%s), index=0
  %next = s32[]{:T(128)} add(%i, %i)
  %h = f32[2,2]{1,0:T(8,128)} get-tuple-element(%s), index=1
  %fusion.1 = f32[2,2]{1,0:T(8,128)} fusion(%h), kind=kOutput, calls=%second
  %start = (f32[2,2]{1,0}, f32[2,2]{1,0}, u32[]) copy-start(%fusion.1)
  %done = f32[2,2]{1,0} copy-done(%start)
  %buffer = f32[2,2]{1,0} custom-call(), custom_call_target="AllocateBuffer"
  %call = f32[2,2]{1,0} custom-call(%done), custom_call_target="kernel"
  ROOT %t = (s32[], f32[2,2]{1,0}) tuple(%next, %call)
}

%inner_condition (c: (s32[], f32[2,2])) -> pred[] {
  %bound = s32[]{:T(128)} constant(7)
  %c = (s32[], f32[2,2]{1,0}) parameter(0)
  %j = s32[]{:T(128)} get-tuple-element(%c), index=0
  ROOT %less = pred[]{:T(512)} compare(%j, %bound), direction=LT
}

%outer_body (o: (s32[], f32[2,2])) -> (s32[], f32[2,2]) {
  %o = (s32[], f32[2,2]{1,0}) parameter(0)
  ROOT %while.1 = (s32[], f32[2,2]{1,0}) while(%o), condition=%inner_condition, body=%inner_body, \
metadata={op_name="jit(f)/transpose(jvp())/while/body/while"}
}

%until (u: (s32[], f32[2,2])) -> pred[] {
  %u = (s32[], f32[2,2]{1,0}) parameter(0)
  ROOT %flag = pred[] custom-call(%u), custom_call_target="kernel"
}

ENTRY %main (a: f32[2,2]) -> f32[2,2] {
  %a = f32[2,2]{1,0} parameter(0)
  %zero = s32[] constant(0)
  %before = (s32[], f32[2,2]{1,0}) tuple(%zero, %a)
  %while.2 = (s32[], f32[2,2]{1,0}) while(%before), condition=%inner_condition, body=%outer_body, \
metadata={op_name="jit(f)/jvp()/while"}, backend_config={"known_trip_count":{"n":"3"}}
  %while.3 = (s32[], f32[2,2]{1,0}) while(%while.2), condition=%until, body=%open_body
  ROOT %last = f32[2,2]{1,0} get-tuple-element(%while.3), index=1
}

%open_body (q: (s32[], f32[2,2])) -> (s32[], f32[2,2]) {
  ROOT %q = (s32[], f32[2,2]{1,0}) parameter(0)
}
"""
SEQUENCE = """001: kCustomKernel [source | next=002 (1)] k_1 grid: [6, 1, 1]
002: kWhile        [prev=001 (1) | sink]
condition:
    003: kCustomKernel [source | sink] compare grid: [1, 1, 1]
  body:
    000: kCommandBuffer [source | sink]
        004: kCustomKernel [source | sink] k_2 grid: [6, 1, 1]
        005: kWhile        [source | sink]
condition:
            006: kCustomKernel [source | sink] compare grid: [1, 1, 1]
          body:
            007: kCustomKernel [source | sink] fusion_1 grid: [6, 1, 1]
            008: kCublasLtMatmul [source | sink] kCublasLtMatmul
    009: kAsyncStart   [source | next=013 (1)] stream=computation_stream[0], async_id=9
        011: kDynamicSliceFusion [source | sink] params=1, results=1
            010: kCopy [source | sink] kCopy
    012: kAllReduceStart [source | sink] kAllReduceStart
    013: kAllReduceDone [source | sink] kAllReduceDone
    014: kAsyncDone    [prev=009 (1) | sink] async_id=9
015: kConvolution  [source | sink] kConvolution
"""
NAMES = """thunk_metadata {
  thunk_info {
    profile_annotation: "while.2"
    thunk_id: 2
  }
}
thunk_metadata {
  thunk_info {
    profile_annotation: "while.1"
    thunk_id: 5
  }
}
thunk_metadata {
  thunk_info {
    profile_annotation: "fusion.1"
    thunk_id: 7
  }
}
"""


@pytest.fixture(scope="module")
def recorded():
    return json.loads(gzip.decompress(RECORDED.read_bytes()))


@pytest.mark.parametrize("name", FOUND)
def test_the_loops_of_recorded_programs(name, recorded):
    loops = of_text(*recorded[name]) if ":" in name else of_thunks(*recorded[name])
    assert loops == [Loop(*place, *counts) for place, counts in FOUND[name]]


def test_the_main_loops_are_those_over_all_steps(recorded):
    main = main_loops(of_thunks(*recorded["tlstm-2d h200"]))
    assert (main["forward"].steps, main["backward"].steps, main["backward"].times) == (52, 26, 52)


def test_what_a_gpu_runs_in_each_loop():
    assert of_thunks(SEQUENCE, NAMES, TEXT) == [
        Loop("outside", 1, 1, 0, kernels=2, launches=2, library_calls=1),
        Loop("forward", 3, 3, 0, kernels=3, launches=3, copies=1, library_calls=1),
        Loop("backward", 7, 21, 1, kernels=2, launches=0, products=1, library_calls=1),
        Loop("other", None, None, 0),
    ]


def test_what_a_tpu_runs_in_each_loop():
    assert of_text(TEXT) == [
        Loop("outside", 1, 1, 0, launches=None),
        Loop("forward", 3, 3, 0, launches=None),
        Loop("backward", 7, 21, 1, 3, launches=None, copies=1, products=1, library_calls=1),
        Loop("other", None, None, 0, launches=None),
    ]


def test_thunks_of_another_program_are_refused():
    with pytest.raises(
        ValueError, match=r"thunk 2 is 'while\.8'; accepted are loops of the program"
    ):
        of_thunks(SEQUENCE, NAMES.replace("while.2", "while.8"), TEXT)

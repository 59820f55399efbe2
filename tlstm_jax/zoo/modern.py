"""The models of 2023 and later, as `catalogue` has the others."""

from collections.abc import Mapping

from tlstm_jax.cells.para import ParaGRU, ParaLSTM
from tlstm_jax.cells.slstm import SLSTM
from tlstm_jax.models.delta_net import DeltaNet
from tlstm_jax.models.gla import GLA
from tlstm_jax.models.hgrn2 import HGRN2
from tlstm_jax.models.lru import LRU
from tlstm_jax.models.mamba import Mamba
from tlstm_jax.models.mamba2 import Mamba2
from tlstm_jax.models.matrix_lstm import MatrixLSTM
from tlstm_jax.models.min_gru import MinGRU
from tlstm_jax.models.min_lstm import MinLSTM
from tlstm_jax.models.retnet import RetNet
from tlstm_jax.models.rg_lru import RGLRU
from tlstm_jax.models.rwkv7 import RWKV7
from tlstm_jax.models.s4d import S4D
from tlstm_jax.models.s5 import S5
from tlstm_jax.zoo.entries import Entry

MODERN: Mapping[str, Entry] = {
    "min_gru": Entry(
        MinGRU,
        "minGRU, without recurrent weights",
        'Feng et al., "Were RNNs All We Needed?", 2024',
        checked="minGRU-pytorch",
        defaults={"num_layers": 2},
    ),
    "min_lstm": Entry(
        MinLSTM,
        "minLSTM, without recurrent weights",
        'Feng et al., "Were RNNs All We Needed?", 2024',
        checked="minGRU-pytorch",
        defaults={"num_layers": 2},
    ),
    "lru": Entry(
        LRU,
        "Linear recurrent unit",
        'Orvieto et al., "Resurrecting Recurrent Neural Networks for Long Sequences", ICML 2023',
        checked="lru-pytorch",
        defaults={"num_layers": 2},
    ),
    "s4d": Entry(
        S4D,
        "Diagonal state space for each channel",
        'Gu et al., "On the Parameterization and Initialization of Diagonal State Space", NeurIPS 2022',
        checked="discretax 0.3.0",
        defaults={"num_layers": 2},
    ),
    "s5": Entry(
        S5,
        "Simplified state space layer",
        'Smith, Warrington and Linderman, "Simplified State Space Layers for Sequence Modeling", ICLR 2023',
        checked="discretax 0.3.0",
        defaults={"num_layers": 2},
    ),
    "rg_lru": Entry(
        RGLRU,
        "Real-gated linear recurrent unit of Griffin",
        'De et al., "Griffin: Mixing Gated Linear Recurrences with Local Attention", 2024',
        checked="recurrentgemma 1.0.1",
        defaults={"num_layers": 2},
    ),
    "mamba": Entry(
        Mamba,
        "Mamba's selective state space",
        'Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", 2023',
        checked="mambapy 1.2.0",
        defaults={"num_layers": 2},
    ),
    "gla": Entry(
        GLA,
        "Gated linear attention",
        'Yang et al., "Gated Linear Attention Transformers with Hardware-Efficient Training", ICML 2024',
        checked="fla-core 0.6.0, its recurrence",
        defaults={"num_layers": 2},
    ),
    "retnet": Entry(
        RetNet,
        "Retention, without rotation",
        'Sun et al., "Retentive Network: A Successor to Transformer for Large Language Models", 2023',
        checked="fla-core 0.6.0, its recurrence",
        defaults={"num_layers": 2},
    ),
    "hgrn2": Entry(
        HGRN2,
        "Gated linear RNN with state expansion",
        'Qin et al., "HGRN2: Gated Linear RNNs with State Expansion", COLM 2024',
        checked="fla-core 0.6.0, its recurrence",
        defaults={"num_layers": 2},
    ),
    "mamba2": Entry(
        Mamba2,
        "Mamba-2's state space layer",
        'Dao and Gu, "Transformers are SSMs: Generalized Models and Efficient Algorithms", ICML 2024',
        checked="mamba2-jax 1.1.2",
        defaults={"num_layers": 2},
    ),
    "matrix_lstm": Entry(
        MatrixLSTM,
        "Matrix LSTM, the mLSTM of xLSTM",
        'Beck et al., "xLSTM: Extended Long Short-Term Memory", NeurIPS 2024',
        checked="xlstm 2.0.6, its recurrence",
        defaults={"num_layers": 2},
    ),
    "delta_net": Entry(
        DeltaNet,
        "DeltaNet: fast weights with the delta rule, also gated",
        'Schlag, Irie and Schmidhuber, "Linear Transformers Are Secretly Fast Weight Programmers", ICML 2021',
        checked="fla-core 0.6.0, its recurrence",
        defaults={"num_layers": 2},
    ),
    "rwkv7": Entry(
        RWKV7,
        "RWKV-7's time mixing",
        "Peng et al., \"RWKV-7 'Goose' with Expressive Dynamic State Evolution\", 2025",
        checked="fla-core 0.6.0, its recurrence",
        defaults={"num_layers": 2},
    ),
    "slstm": Entry(
        SLSTM,
        "Scalar LSTM, the sLSTM of xLSTM",
        'Beck et al., "xLSTM: Extended Long Short-Term Memory", NeurIPS 2024',
        checked="xlstm 2.0.6",
    ),
    "para_gru": Entry(
        ParaGRU,
        "GRU with diagonal recurrent weights",
        'Danieli et al., "ParaRNN: Unlocking Parallel Training of Nonlinear RNNs", 2025',
    ),
    "para_lstm": Entry(
        ParaLSTM,
        "LSTM with diagonal recurrent weights",
        'Danieli et al., "ParaRNN: Unlocking Parallel Training of Nonlinear RNNs", 2025',
    ),
}

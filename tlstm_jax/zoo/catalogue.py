"""The models of the zoo: names, citations, and how each is made from settings; and a user's own."""

from collections.abc import Mapping
from typing import Any

from tlstm_jax.cells.conv_lstm import ConvLSTM
from tlstm_jax.cells.elman import Elman
from tlstm_jax.cells.fast_slow_lstm import FastSlowLSTM
from tlstm_jax.cells.fast_weights import FastWeights
from tlstm_jax.cells.fast_weights_1992 import FastWeights1992
from tlstm_jax.cells.gated_feedback import GatedFeedback
from tlstm_jax.cells.grid_lstm import GridLSTM
from tlstm_jax.cells.hyper_lstm import HyperLSTM
from tlstm_jax.cells.irnn import IRNN
from tlstm_jax.cells.layer_norm_lstm import LayerNormLSTM
from tlstm_jax.cells.lstm import LSTM, LSTM1997
from tlstm_jax.cells.mi_lstm import MILSTM
from tlstm_jax.cells.multiplicative_lstm import MultiplicativeLSTM
from tlstm_jax.cells.multiplicative_rnn import MultiplicativeRNN
from tlstm_jax.cells.mut import MUT
from tlstm_jax.cells.peephole_lstm import PeepholeLSTM
from tlstm_jax.cells.rhn import RHN
from tlstm_jax.cells.skip_rnn import SkipRNN
from tlstm_jax.cells.tt_lstm import TTLSTM
from tlstm_jax.cells.unitary import FullCapacityURNN, UnitaryRNN
from tlstm_jax.models.batch_norm_lstm import BatchNormLSTM
from tlstm_jax.models.extended_neural_gpu import ExtendedNeuralGPU
from tlstm_jax.models.multidimensional_lstm import MultidimensionalLSTM
from tlstm_jax.models.neural_gpu import NeuralGPU
from tlstm_jax.models.pyramid_lstm import PyramidLSTM
from tlstm_jax.models.qrnn import QRNN
from tlstm_jax.models.sru import SRU
from tlstm_jax.models.wavenet import WaveNet
from tlstm_jax.names import accepted, find, is_own
from tlstm_jax.typing import Cell, SequenceModel
from tlstm_jax.zoo.entries import Entry
from tlstm_jax.zoo.makers import dilated, gru, hm_lstm, row_lstm, stacked_lstm, tlstm, trnn
from tlstm_jax.zoo.modern import MODERN

_TENSORIZED = (
    'He et al., "Wider and Deeper, Cheaper and Faster: Tensorized LSTMs for Sequence Learning", '
    "NIPS 2017"
)
_LEARNED = {"learned_carry": True}
MODELS: Mapping[str, Entry] = {
    "tlstm": Entry(
        tlstm,
        "Tensorized LSTM",
        _TENSORIZED,
        checked="the paper's identities with stacked LSTMs",
    ),
    "trnn": Entry(
        trnn,
        "Tensorized RNN",
        _TENSORIZED,
        checked="the paper's identities with stacked Elman networks",
    ),
    "elman": Entry(
        Elman,
        "Elman network",
        'Elman, "Finding Structure in Time", Cognitive Science 1990',
        checked="torch.nn.RNN, Flax",
    ),
    "lstm": Entry(
        LSTM,
        "LSTM with forget gate",
        'Gers, Schmidhuber and Cummins, "Learning to Forget", Neural Computation 2000',
        checked="torch.nn.LSTM, Flax",
    ),
    "lstm_1997": Entry(
        LSTM1997,
        "LSTM without forget gate",
        'Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 1997',
        checked="torchrecurrent",
    ),
    "stacked_lstm": Entry(
        stacked_lstm,
        "Stacked LSTM, separate or shared weights",
        'Graves et al., "Speech Recognition with Deep Recurrent Neural Networks", ICASSP 2013',
        checked="torch.nn.LSTM(num_layers)",
    ),
    "peephole_lstm": Entry(
        PeepholeLSTM,
        "LSTM with peepholes",
        'Gers et al., "Learning Precise Timing with LSTM Recurrent Networks", JMLR 2002',
        checked="torchrecurrent",
    ),
    "gru": Entry(
        gru,
        "GRU, reset after or before",
        'Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", EMNLP 2014',
        checked="torch.nn.GRU, Flax; Keras (reset before)",
    ),
    "conv_lstm": Entry(
        ConvLSTM,
        "Convolutional LSTM, over maps",
        'Shi et al., "Convolutional LSTM Network: A Machine Learning Approach for Precipitation '
        'Nowcasting", NIPS 2015',
        checked="conv_lstm, flax.linen.ConvLSTMCell; the LSTM, where there are no spatial axes",
    ),
    "row_lstm": Entry(
        row_lstm,
        "Row LSTM, over rows of an image",
        'van den Oord, Kalchbrenner and Kavukcuoglu, "Pixel Recurrent Neural Networks", ICML 2016',
        checked="an LSTM for each column (kernels of width 1); what a pixel's output depends on",
        axes=1,
    ),
    "pyramid_lstm": Entry(
        PyramidLSTM,
        "PyraMiD-LSTM, over images and volumes from all sides",
        'Stollenga et al., "Parallel Multi-Dimensional LSTM, With Application to Fast Biomedical '
        'Volumetric Image Segmentation", NIPS 2015',
        checked="ConvLSTMs over each axis and direction, summed",
    ),
    "md_lstm": Entry(
        MultidimensionalLSTM,
        "Multidimensional LSTM, over images: with the cells of 2007 or 2016",
        'Graves, Fernandez and Schmidhuber, "Multi-Dimensional Recurrent Neural Networks", '
        "ICANN 2007",
        checked="the LSTM, where there is one column",
    ),
    "irnn": Entry(
        IRNN,
        "IRNN",
        'Le et al., "A Simple Way to Initialize Recurrent Networks of Rectified Linear Units", '
        "2015",
        checked="torch.nn.RNNCell(relu)",
    ),
    "layer_norm_lstm": Entry(
        LayerNormLSTM,
        "Layer-normalized LSTM",
        'Ba, Kiros and Hinton, "Layer Normalization", 2016',
        checked="haste",
    ),
    "mi_lstm": Entry(
        MILSTM,
        "LSTM with multiplicative integration",
        'Wu et al., "On Multiplicative Integration with Recurrent Neural Networks", NIPS 2016',
        checked="the LSTM, where alpha = 0 and beta = 1",
    ),
    "mlstm": Entry(
        MultiplicativeLSTM,
        "Multiplicative LSTM",
        'Krause et al., "Multiplicative LSTM for Sequence Modelling", ICLR Workshop 2017',
        checked="torchrecurrent",
    ),
    "mrnn": Entry(
        MultiplicativeRNN,
        "Multiplicative RNN",
        'Sutskever, Martens and Hinton, "Generating Text with Recurrent Neural Networks", ICML 2011',
        checked="one dense matrix for each symbol",
    ),
    "tt_lstm": Entry(
        TTLSTM,
        "TT-LSTM, an LSTM of tensor trains",
        'Yang, Krompass and Tresp, "Tensor-Train Recurrent Neural Networks for Video '
        'Classification", ICML 2017',
        checked="the LSTM with the trains' dense matrices",
    ),
    "hyper_lstm": Entry(
        HyperLSTM,
        "HyperLSTM with layer normalization",
        'Ha, Dai and Le, "HyperNetworks", ICLR 2017',
        checked="labml_nn",
    ),
    "hm_lstm": Entry(
        hm_lstm,
        "Hierarchical multiscale LSTM",
        'Chung, Ahn and Bengio, "Hierarchical Multiscale Recurrent Neural Networks", ICLR 2017',
        checked="a stacked LSTM, where boundaries are forced",
    ),
    "rhn": Entry(
        RHN,
        "Recurrent highway network",
        'Zilly et al., "Recurrent Highway Networks", ICML 2017',
        checked="labml_nn",
    ),
    "fs_lstm": Entry(
        FastSlowLSTM,
        "Fast-slow LSTM",
        'Mujika, Meier and Steger, "Fast-Slow Recurrent Neural Networks", NIPS 2017',
        checked="its wiring from layer-normalized LSTMs",
    ),
    "fast_weights": Entry(
        FastWeights,
        "RNN with fast weights",
        'Ba et al., "Using Fast Weights to Attend to the Recent Past", NIPS 2016',
        checked="attention to past states; a layer-normalized Elman network (rate = 0)",
    ),
    "fast_weights_1992": Entry(
        FastWeights1992,
        "Fast weights of a slow network",
        'Schmidhuber, "Learning to Control Fast-Weight Memories", Neural Computation 1992',
        checked="linear attention to past patterns",
    ),
    "grid_lstm": Entry(
        GridLSTM,
        "Grid LSTM over depth and time, tied or untied",
        'Kalchbrenner, Danihelka and Graves, "Grid Long Short-Term Memory", ICLR 2016',
        checked="its wiring from LSTMs",
    ),
    "gated_feedback": Entry(
        GatedFeedback,
        "Gated-feedback RNN, LSTM or GRU",
        'Chung et al., "Gated Feedback Recurrent Neural Networks", ICML 2015',
        checked="a stack, where gates are 1 and layers hear themselves only",
    ),
    "urnn": Entry(
        UnitaryRNN,
        "Unitary evolution RNN",
        'Arjovsky, Shah and Bengio, "Unitary Evolution Recurrent Neural Networks", ICML 2016',
        checked="the dense matrix of its factors",
        defaults=_LEARNED,
    ),
    "full_urnn": Entry(
        FullCapacityURNN,
        "Full-capacity unitary RNN",
        'Wisdom et al., "Full-Capacity Unitary Recurrent Neural Networks", NIPS 2016',
        checked="the uRNN at its start; unitarity",
        defaults=_LEARNED,
    ),
    "skip_rnn": Entry(
        SkipRNN,
        "sTANH, a tanh network with skips",
        'Zhang et al., "Architectural Complexity Measures of Recurrent Neural Networks", NIPS 2016',
        checked="Elman (U_s = 0), a dilated Elman (U = 0)",
    ),
    "bn_lstm": Entry(
        BatchNormLSTM,
        "Batch-normalized LSTM",
        'Cooijmans et al., "Recurrent Batch Normalization", ICLR 2017',
        checked="the LSTM, where scales undo the statistics",
    ),
    "dilated": Entry(
        dilated,
        "Dilated RNN, GRU or LSTM",
        'Chang et al., "Dilated Recurrent Neural Networks", NIPS 2017',
        checked="cells over interleaved sequences",
    ),
    "wavenet": Entry(
        WaveNet,
        "WaveNet",
        'van den Oord et al., "WaveNet: A Generative Model for Raw Audio", 2016',
        checked="wavenet_vocoder",
    ),
    "qrnn": Entry(
        QRNN,
        "Quasi-recurrent network: f, fo, ifo pooling",
        'Bradbury et al., "Quasi-Recurrent Neural Networks", ICLR 2017',
        checked="its recurrence as a loop",
        defaults={"num_layers": 2},
    ),
    "sru": Entry(
        SRU,
        "Simple recurrent unit, of 2017 or 2018",
        'Lei et al., "Simple Recurrent Units for Highly Parallelizable Recurrence", EMNLP 2018',
        checked="sru",
        defaults={"num_layers": 2},
    ),
    "neural_gpu": Entry(
        NeuralGPU,
        "Neural GPU",
        'Kaiser and Sutskever, "Neural GPUs Learn Algorithms", ICLR 2016',
        checked="gated units apart from each other (kernels of one tap); equal copies",
        defaults={"features": 24},
    ),
    "extended_neural_gpu": Entry(
        ExtendedNeuralGPU,
        "Extended Neural GPU, with an output tape",
        'Kaiser and Bengio, "Can Active Memory Replace Attention?", NIPS 2016',
        checked="a Neural GPU of twice as many steps, where nothing of the tape is read",
        defaults={"features": 24},
    ),
    "mut": Entry(
        MUT,
        "MUT1, MUT2 or MUT3",
        'Jozefowicz et al., "An Empirical Exploration of Recurrent Network Architectures", '
        "ICML 2015",
        checked="torchrecurrent",
    ),
    **MODERN,
}


def entry(name: str) -> Entry:
    """A model's entry; for a user's own, module:name, one without citation: its module is imported.

    Raises:
      ValueError: there is no such model.
    """
    if is_own(name):
        return Entry(find("model", name), name.partition(":")[2], "", "")
    if not isinstance(name, str) or name not in MODELS:
        raise ValueError(
            f"model is {name!r}; {accepted(name, MODELS)}, and module:name of your own"
        )
    return MODELS[name]


def check_protocol(name: str, model: Any) -> None:
    """Raises ValueError unless a user's own `model` is a Cell or a SequenceModel."""
    protocol = SequenceModel if hasattr(model, "apply") else Cell
    parts = [part for part in vars(protocol) if not part.startswith("_")]
    if lacking := [part for part in parts if not hasattr(model, part)]:
        raise ValueError(
            f"model {name} makes an object of type {type(model).__name__} without "
            f"{', '.join(lacking)}; "
            "accepted are cells and models, as tlstm_jax.typing has them"
        )

"""The models of 2023 and later, as `catalogue` has the others."""

from collections.abc import Mapping

from tlstm_jax.models.lru import LRU
from tlstm_jax.models.min_gru import MinGRU
from tlstm_jax.models.min_lstm import MinLSTM
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
}

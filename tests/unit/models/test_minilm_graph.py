import pytest

from models.minilm_graph import EncoderShape


def test_heads_must_divide_the_hidden_size() -> None:
    with pytest.raises(ValueError, match="hidden is 384; it must be a multiple of heads, 7"):
        EncoderShape(layers=6, heads=7, hidden=384, layer_norm_epsilon=1e-12)


def test_an_encoder_without_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="layers, heads and hidden are 0, 12, 384; each is >= 1"):
        EncoderShape(layers=0, heads=12, hidden=384, layer_norm_epsilon=1e-12)

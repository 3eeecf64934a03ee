"""Random models of other families, with the sizes of the tiny BERT, for its encoder."""

import tensorflow as tf


def with_model(encoder, family):
    """Replace the encoder's model by a random one of two layers, 16 wide, two heads."""
    import transformers

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 32, "vocab_size": encoder.model.config.vocab_size}
    sizes |= {"max_position_embeddings": 64, "initializer_range": 0.3}
    if family == "bert":
        return encoder
    tf.random.set_seed(0)
    if family == "distilbert":
        config = transformers.DistilBertConfig(
            vocab_size=sizes["vocab_size"],
            dim=16,
            n_layers=2,
            n_heads=2,
            hidden_dim=32,
            max_position_embeddings=64,
            initializer_range=0.3,
        )
        encoder.model = transformers.TFDistilBertModel(config)
    elif family == "roberta":
        config = transformers.RobertaConfig(**sizes, pad_token_id=1)
        encoder.model = transformers.TFRobertaModel(config)
    elif family == "mpnet":
        encoder.model = transformers.TFMPNetModel(transformers.MPNetConfig(**sizes))
    elif family == "electra":
        config = transformers.ElectraConfig(**sizes, embedding_size=16)
        encoder.model = transformers.TFElectraModel(config)
    elif family == "albert":
        config = transformers.AlbertConfig(**sizes, embedding_size=16)
        encoder.model = transformers.TFAlbertModel(config)
    encoder.model.build_in_name_scope()
    return encoder

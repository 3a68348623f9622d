"""Language models over tokens: packing, a causal transformer, its training, its score in bits a token, sampling.

The network is Llama of ``transformers`` (``pip install -e '.[lm]'``), imported when one is built.
``docs/language_models.md`` has the road from a corpus to sampled speech.
"""

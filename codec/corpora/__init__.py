"""Corpora on disk: from folders of recordings to manifests (:mod:`codec.manifest`)."""

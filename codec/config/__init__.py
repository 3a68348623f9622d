"""Typed, strict settings.

One YAML file describes a training run. Every key is checked: an unknown one or a wrong type is an error that names the
key and the nearest known one. Settings come from, in rising priority: the defaults below (the published model and
objective), ``model.preset``, the file named by ``base``, the file itself, and ``section.key=value`` overrides.
"""

from __future__ import annotations

from codec.config.base import Settings, build, differences
from codec.config.loading import dump_yaml, load_config, load_run_config, merge
from codec.config.model import PRESETS, DecoderConfig, EncoderConfig, ModelConfig, TransformerConfig, preset
from codec.config.quantizers import (
    BSQConfig,
    CVQConfig,
    DAReConfig,
    EMAConfig,
    FactorizedConfig,
    FSQConfig,
    HQAConfig,
    HuhConfig,
    JukeboxConfig,
    LFQConfig,
    QINCoConfig,
    QuantizerConfig,
    ResidualConfig,
    ResidualSimVQConfig,
    RotationConfig,
    SCVAEConfig,
    SimVQConfig,
    SQVAEConfig,
    VQConfig,
    VQGANLCConfig,
    VQWAEConfig,
)
from codec.config.run import (
    BottleneckWarmupConfig,
    DataConfig,
    DiscriminatorConfig,
    LastStageConfig,
    LossConfig,
    MelScale,
    OptimizerConfig,
    RunConfig,
    TrainingConfig,
)

__all__ = [
    "PRESETS",
    "BSQConfig",
    "BottleneckWarmupConfig",
    "CVQConfig",
    "DAReConfig",
    "DataConfig",
    "DecoderConfig",
    "DiscriminatorConfig",
    "EMAConfig",
    "EncoderConfig",
    "FSQConfig",
    "FactorizedConfig",
    "HQAConfig",
    "HuhConfig",
    "JukeboxConfig",
    "LFQConfig",
    "LastStageConfig",
    "LossConfig",
    "MelScale",
    "ModelConfig",
    "OptimizerConfig",
    "QINCoConfig",
    "QuantizerConfig",
    "ResidualConfig",
    "ResidualSimVQConfig",
    "RotationConfig",
    "RunConfig",
    "SCVAEConfig",
    "SQVAEConfig",
    "Settings",
    "SimVQConfig",
    "TrainingConfig",
    "TransformerConfig",
    "VQConfig",
    "VQGANLCConfig",
    "VQWAEConfig",
    "build",
    "differences",
    "dump_yaml",
    "load_config",
    "load_run_config",
    "merge",
    "preset",
]

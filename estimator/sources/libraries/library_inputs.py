"""The inputs of models from timm, torchvision, transformers and diffusers, as their own settings tell them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from estimator.sources.inputs import DEFAULT_IMAGE, DEFAULT_TOKENS, InputSpec
from estimator.sources.libraries.picture_sizes import Size, by_default

if TYPE_CHECKING:
    import torch

Found = tuple[tuple[InputSpec, ...], str]
"""The inputs and their source, which ends in "assumed" where a dimension is in no setting (`inputs.is_assumed`)."""

_TEXT_TOKENS = 77
_GENERATED_TOKENS = 128

_POSITIONS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "max_sequence_length",
    "seq_length",
    "max_target_positions",
)
_VIDEO_SIZES = {"VideoResNet": 112, "SwinTransformer3d": 224, "MViT": 224, "S3D": 224}


def with_pictures_of(module: torch.nn.Module, size: Size, source: str) -> Found | None:
    """The inputs of a model of transformers that takes pictures of `size`, as `source` says; None where it takes none.

    A size in the model's own settings gives way: it is that of its positions, which are fitted to the picture's.
    """
    try:
        found = inputs_of_library_model(module)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):  # settings of an unexpected kind
        return None
    if found is None or not any(spec.name == "pixel_values" for spec in found[0]):
        return None
    specs = tuple(
        replace(spec, shape=(*spec.shape[:-2], *size)) if spec.name == "pixel_values" else spec for spec in found[0]
    )
    beside = [f"{'x'.join(map(str, spec.shape))} {spec.name}" for spec in specs if spec.name != "pixel_values"]
    told = f"{source}: pictures of {size[0]}x{size[1]}"
    return specs, f"{told}; {' and '.join(beside)} assumed" if beside else told


def inputs_of_library_model(module: torch.nn.Module) -> Found | None:
    """The inputs that a library's own settings on `module` tell, None where there are none."""
    config = getattr(module, "config", None)
    home = type(module).__module__.partition(".")[0]
    if config is not None and hasattr(module, "main_input_name") and hasattr(config, "model_type"):
        return _transformers_inputs(module, config)
    if config is not None and home == "diffusers":
        return _diffusers_inputs(module, config)
    if home == "torchvision":
        return _torchvision_inputs(module)
    return _timm_inputs(module)


def _timm_inputs(module: Any) -> Found | None:
    for attribute in ("pretrained_cfg", "default_cfg"):
        settings = getattr(module, attribute, None)
        size = settings.get("input_size") if isinstance(settings, dict) else getattr(settings, "input_size", None)
        if isinstance(size, (tuple, list)) and len(size) > 1 and all(type(n) is int and 0 < n < 2**20 for n in size):
            return (InputSpec(tuple(size)),), f"timm {attribute}"
    return None


def _torchvision_inputs(module: Any) -> Found | None:
    name = type(module).__name__
    if name == "RAFT":
        return (InputSpec((3, 360, 480)), InputSpec((3, 360, 480))), "torchvision RAFT: two images of 360x480 assumed"
    if name in _VIDEO_SIZES:
        size = _VIDEO_SIZES[name]
        return (InputSpec((3, 16, size, size)),), f"torchvision {name}: 16 frames of {size}x{size} assumed"
    if name == "Inception3":
        return (InputSpec((3, 299, 299)),), "torchvision Inception3: 299x299 assumed"
    image_size = getattr(module, "image_size", None)
    if not isinstance(image_size, int):
        return None
    return (InputSpec((3, image_size, image_size)),), f"torchvision {name}.image_size"


def _transformers_inputs(module: Any, config: Any) -> Found | None:
    name = module.main_input_name
    rules: dict[str, Callable[[Any, Any], Found | None]] = {
        "input_ids": _text_inputs,
        "pixel_values": _image_inputs,
        "pixel_values_videos": _video_inputs,
        "input_features": _spectrogram_inputs,
        "input_values": _waveform_inputs,
    }
    rule = rules.get(name)
    return rule(module, config) if rule is not None and _takes(module, name) else None


def _setting(config: Any, *names: str) -> Any:
    """The first of the settings `names` that `config` has, looking also into its text, vision or audio part."""
    parts = [
        config,
        *(getattr(config, part, None) for part in ("text_config", "vision_config", "audio_config", "encoder")),
    ]
    for name in names:
        for part in parts:
            value = getattr(part, name, None)
            if value is not None:
                return value
    return None


def _takes(module: Any, name: str) -> bool:
    return name in inspect.signature(module.forward).parameters


def _needs(module: Any, name: str) -> bool:
    parameter = inspect.signature(module.forward).parameters.get(name)
    return parameter is not None and parameter.default is parameter.empty


def _tokens(config: Any) -> tuple[int, int | None]:
    """How many tokens to assume, and the vocabulary's size."""
    positions = _setting(config, *_POSITIONS)
    room = positions - _offset(config) if isinstance(positions, int) and positions > 8 else DEFAULT_TOKENS
    vocabulary = _setting(config, "vocab_size")
    return min(DEFAULT_TOKENS, room), vocabulary if isinstance(vocabulary, int) else None


def _offset(config: Any) -> int:
    """RoBERTa and its kin number positions from the padding id on, so two positions are never used."""
    padding = getattr(config, "pad_token_id", None)
    family = (
        "roberta",
        "xlm-roberta",
        "camembert",
        "longformer",
        "mpnet",
        "data2vec-text",
        "xmod",
        "ibert",
        "esm",
        "luke",
    )
    return (padding or 1) + 1 if getattr(config, "model_type", "") in family else 0


def _text_inputs(module: Any, config: Any) -> Found:
    tokens, vocabulary = _tokens(config)
    specs = [InputSpec((tokens,), "int64", "input_ids", high=vocabulary)]
    source = f"transformers config: {tokens} tokens assumed"
    if getattr(config, "is_encoder_decoder", False) and _takes(module, "decoder_input_ids"):
        specs.append(InputSpec((tokens,), "int64", "decoder_input_ids", high=vocabulary))
        source = f"transformers config: {tokens} tokens into the encoder and {tokens} into the decoder assumed"
    both = hasattr(module, "logit_scale") or getattr(config, "model_type", "") == "vilt"  # CLIP and its kin, ViLT
    if (both and _takes(module, "pixel_values")) or _needs(module, "pixel_values"):
        specs.append(_image(config)[0])
    return tuple(specs), source


def _image_size(config: Any) -> tuple[int, int] | None:
    size = _setting(config, "image_size", "input_size")
    if isinstance(size, dict):
        size = (size.get("height"), size.get("width"))
    if isinstance(size, (tuple, list)) and len(size) >= 2 and all(isinstance(n, int) for n in size[-2:]):
        return size[-2], size[-1]
    return (size, size) if isinstance(size, int) else None


def _image(config: Any) -> tuple[InputSpec, bool]:
    """Pixels, and whether their size or channels were assumed."""
    channels, size = _setting(config, "num_channels", "in_channels", "in_chans"), _image_size(config)
    frames = (config.num_frames,) if getattr(config, "model_type", "") in ("videomae", "timesformer", "vivit") else ()
    shape = (*frames, channels if isinstance(channels, int) else 3, *(size or (DEFAULT_IMAGE, DEFAULT_IMAGE)))
    return InputSpec(shape, name="pixel_values"), size is None or not isinstance(channels, int)


def _source(words: list[str], assumed: list[str]) -> str:
    """What the settings tell, then what was assumed beside it."""
    both = [", ".join(words), f"{' and '.join(assumed)} assumed" if assumed else ""]
    return f"transformers config: {'; '.join(part for part in both if part)}"


def _decoder_tokens(module: Any, config: Any, specs: list[InputSpec], assumed: list[str]) -> None:
    """Adds the decoder's first tokens, where `forward` takes them."""
    if _takes(module, "decoder_input_ids"):
        tokens, vocabulary = _tokens(config)
        tokens = min(tokens, _GENERATED_TOKENS)
        specs.append(InputSpec((tokens,), "int64", "decoder_input_ids", high=vocabulary))
        assumed.append(f"{tokens} tokens of the decoder")


def _image_inputs(module: Any, config: Any) -> Found:
    pixels, unknown = _image(config)
    usual = by_default(config) if unknown and _image_size(config) is None else None
    if usual:
        pixels = replace(pixels, shape=(*pixels.shape[:-2], *usual[0]))
    shown = f"pixels of {'x'.join(map(str, pixels.shape))}" + (f" as {usual[1]} makes them" if usual else "")
    specs = [pixels]
    words, assumed = ([], [shown]) if unknown else ([shown], [])
    if getattr(config, "is_encoder_decoder", False) or hasattr(config, "decoder"):
        _decoder_tokens(module, getattr(config, "decoder", config), specs, assumed)
    elif _takes(module, "input_ids") and hasattr(config, "text_config"):
        tokens, vocabulary = _tokens(config.text_config)
        specs.append(InputSpec((tokens,), "int64", "input_ids", high=vocabulary))
        assumed.append(f"{tokens} tokens")
    return tuple(specs), _source(words, assumed)


def _video_inputs(module: Any, config: Any) -> Found:
    size, frames = _image_size(config), _setting(config, "num_frames", "frames_per_clip")
    shape = (frames or 16, 3, *(size or (DEFAULT_IMAGE, DEFAULT_IMAGE)))
    shown = f"{shape[0]} frames of {shape[2]}x{shape[3]}"
    known = bool(frames and size)
    source = _source([shown] if known else [], [] if known else [shown])
    return (InputSpec(shape, name="pixel_values_videos"),), source


def _spectrogram_inputs(module: Any, config: Any) -> Found:
    set_bins = _setting(config, "num_mel_bins", "feature_size", "input_feat_per_channel")
    positions = getattr(config, "max_source_positions", None)
    whisper = getattr(config, "model_type", "") == "whisper"
    bins, steps = set_bins or 80, 2 * positions if whisper and positions else 1000
    shown = f"{steps} frames of {bins} mel bins"
    words, assumed = ([shown], []) if set_bins and whisper and positions else ([], [shown])
    specs = [InputSpec((bins, steps) if whisper else (steps, bins), name="input_features")]
    if getattr(config, "is_encoder_decoder", False):
        _decoder_tokens(module, config, specs, assumed)
    return tuple(specs), _source(words, assumed)


def _waveform_inputs(module: Any, config: Any) -> Found:
    if getattr(config, "model_type", "") == "audio-spectrogram-transformer":
        steps, bins = config.max_length, config.num_mel_bins
        return (InputSpec((steps, bins), name="input_values"),), f"transformers config: a spectrogram of {steps}x{bins}"
    channels = _setting(config, "audio_channels")
    waveform = (channels, 16_000) if isinstance(channels, int) else (16_000,)
    return (InputSpec(waveform, name="input_values"),), "transformers config: one second at 16 kHz assumed"


def _diffusers_inputs(module: Any, config: Any) -> Found | None:
    name, assumed = type(module).__name__, []
    size, channels = config.get("sample_size"), config.get("in_channels")
    height, width = (size[-2], size[-1]) if isinstance(size, (tuple, list)) else (size or 64, size or 64)
    shape = (channels or 3, int(width)) if "1D" in name else (channels or 3, int(height), int(width))
    sample = InputSpec(shape, name=next((n for n in ("sample", "hidden_states", "x") if _takes(module, n)), None))
    shown = "x".join(map(str, shape))
    source = f"diffusers config: {name} at {shown}"
    if not size or not channels:
        source, assumed = f"diffusers config: {name}", [shown]
    specs = [sample]
    if _takes(module, "timestep"):
        specs.append(InputSpec((), "int64", "timestep", high=1000))
    if not name.startswith(("Autoencoder", "VQModel", "ConsistencyDecoder")):
        width_of_text = (
            config.get("cross_attention_dim") or config.get("joint_attention_dim") or config.get("caption_channels")
        )
        if isinstance(width_of_text, (list, tuple)):
            width_of_text = width_of_text[0]
        if width_of_text and _takes(module, "encoder_hidden_states"):
            specs.append(InputSpec((_TEXT_TOKENS, width_of_text), name="encoder_hidden_states"))
            assumed.append(f"{_TEXT_TOKENS} tokens of text")
        if config.get("pooled_projection_dim") and _takes(module, "pooled_projections"):
            specs.append(InputSpec((config["pooled_projection_dim"],), name="pooled_projections"))
        if name == "DiTTransformer2DModel":
            specs.append(InputSpec((), "int64", "class_labels", high=config.get("num_embeds_ada_norm")))
    return tuple(specs), source + (f"; {' and '.join(assumed)} assumed" if assumed else "")

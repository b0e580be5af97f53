"""Configurations: presets, files, overlays, settings, and every message."""

import re

import pytest

from attnsieve.gen import config
from attnsieve.gen.errors import UserError
from attnsieve.hdl.params import CoreParams


def fails(message, *arguments, **options):
    with pytest.raises(UserError, match=rf"^{message}$") as caught:
        config.load(*arguments, **options)
    assert "\n" not in str(caught.value)


def test_presets_are_the_documented_ones():
    found = {c.name: c for c in config.presets()}
    names = [
        "dense", "dense-full", "dense-tiny",
        "leopard", "leopard-ecp5", "leopard-hp", "leopard-tiny",
        "spatten", "spatten-ecp5", "spatten-full", "spatten-tiny",
    ]  # fmt: skip
    assert list(found) == names
    assert found["dense"].core == CoreParams()
    assert found["dense-full"].core == CoreParams(
        lanes=512, output_lanes=16, channels=16, buffer_elements=65536
    )
    assert found["dense-tiny"].core.lanes == 4
    assert found["spatten"].core == CoreParams(
        value_lanes=16, token_lanes=16, progressive=True, value_demand=True
    )
    assert found["spatten-full"].core == CoreParams(
        lanes=512, max_head_dim=64, output_lanes=16, channels=16, value_lanes=32, token_lanes=32,
        progressive=True, value_demand=True,
    )  # fmt: skip
    for name, units in (("leopard", 6), ("leopard-hp", 8)):
        assert found[name].core == CoreParams(
            max_head_dim=64, slice_units=units, value_demand=True
        )
    assert not found["leopard-tiny"].core.gathers
    half = found["leopard-ecp5"]
    assert (half.core.lanes, half.core.slice_units, half.synth.ecp5_speed) == (32, 3, 8)
    assert not half.core.gathers
    fits = found["spatten-ecp5"]
    assert (fits.core.lanes, fits.core.top_k, fits.synth.ecp5_speed) == (16, "quick", 8)
    for preset in found.values():
        assert preset.system == preset.name.partition("-")[0]
        status = "supported" if preset.system == "dense" else "experimental"
        assert preset.status == status
        assert preset.intent
        assert preset.top == "attnsieve_" + preset.name.replace("-", "_")


def test_reference_memory():
    memory = config.load("dense").memory
    assert (memory.latency, memory.outstanding, memory.granule) == (50, 64, 32)


def test_toml_round_trip(tmp_path):
    for preset in config.presets():
        path = tmp_path / "any.toml"
        path.write_text(preset.as_toml())
        assert config.load(str(path)) == preset


def test_any_text_in_a_toml_round_trip(tmp_path):
    path = tmp_path / "any.toml"
    for intent in ('"quoted" \\ text', "tab\t, bell\x07, delete\x7f", "größer: 微"):
        path.write_text(config.load("dense").model_copy(update={"intent": intent}).as_toml())
        assert config.load(str(path)).intent == intent


def test_a_file_has_defaults_and_its_own_name(tmp_path):
    path = tmp_path / "my core.toml"
    path.write_text("[core]\nlanes = 32\n")
    loaded = config.load(str(path))
    assert loaded.name == "my_core"
    assert loaded.top == "attnsieve_my_core"
    assert loaded.status == "experimental"
    assert loaded.core == CoreParams(lanes=32)


def test_a_file_extends_a_preset(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('extends = "dense-tiny"\n[core]\nmax_heads = 8\n')
    loaded = config.load(str(path))
    assert loaded.name == "mine"
    assert loaded.core.lanes == 4
    assert loaded.core.max_heads == 8


def test_overlays_and_settings_in_order(tmp_path):
    first, second = tmp_path / "1.toml", tmp_path / "2.toml"
    first.write_text("[core]\nlanes = 16\nmax_keys = 64\n[run]\nbits = 12\n")
    second.write_text("[core]\nlanes = 32\n")
    loaded = config.load("dense", overlays=[first, second], settings=["max_heads=4", "latency = 7"])
    assert (loaded.core.lanes, loaded.core.max_keys, loaded.core.max_heads) == (32, 64, 4)
    assert loaded.run.bits == 12
    assert loaded.memory.latency == 7


@pytest.mark.parametrize(
    "text, where, value",
    [
        ("core.lanes=32", ("core", "lanes"), 32),
        ("lanes=32", ("core", "lanes"), 32),
        ("lut_ram=false", ("core", "lut_ram"), False),
        ("synth.clock_mhz=90", ("synth", "clock_mhz"), 90.0),
        ("ecp5_device=LFE5U-45F", ("synth", "ecp5_device"), "LFE5U-45F"),
        ('ecp5_device="LFE5U-45F"', ("synth", "ecp5_device"), "LFE5U-45F"),
        ("bits=12", ("run", "bits"), 12),
    ],
)
def test_settings(text, where, value):
    section, key = where
    loaded = config.load("dense", settings=[text])
    assert getattr(getattr(loaded, section), key) == value
    if section != "core":
        assert loaded.core == CoreParams()


@pytest.mark.parametrize(
    "text, message",
    [
        ("lanez=3", r"--set lanez=3: unknown key 'lanez'; did you mean 'lanes'\?"),
        (
            "core.lanez=3",
            r"--set core.lanez=3: unknown key 'lanez' in \[core\]; did you mean 'lanes'\?",
        ),
        ("cores.lanes=3", r"--set cores.lanes=3: unknown key 'cores'; did you mean 'core'\?"),
        ("lanes", r"--set lanes: must be key=value, for example core.lanes=32"),
        ("=3", r"--set =3: must be key=value, for example core.lanes=32"),
        ("lanes=3", r"dense: lanes must be a power of two, not 3"),
        ("lanes=4096", r"dense: lanes must be in 1\.\.1024, not 4096"),
        ("lanes=many", r"dense: lanes must be an integer, not 'many'"),
        ("lut_ram=1", r"dense: lut_ram must be true or false, not 1"),
        ("max_head_dim=40", r"dense: max_head_dim must be a multiple of 16, not 40"),
        ("bits=9", r"dense: run\.bits: must be 8 or 12, not 9"),
        ("key_bits=5", r"dense: run\.key_bits: must be 0, 4, 6, 8, 10 or 12, not 5"),
        ("value_bits=16", r"dense: run\.value_bits: must be 0, 4, 6, 8, 10 or 12, not 16"),
        ("threshold=1.5", r"dense: run\.threshold: must be less than or equal to 1, not 1\.5"),
        ("threshold=-1", r"dense: run\.threshold: must be greater than or equal to 0, not -1"),
        ("demand=1", r"dense: run\.demand: must be a valid boolean, not 1"),
        ("memory.latency=0", r"dense: memory\.latency: must be greater than or equal to 1, not 0"),
        ("status=fine", r"dense: status: must be 'supported' or 'experimental', not 'fine'"),
        (
            "system=spattan",
            r"dense: system: must be 'dense', 'spatten' or 'leopard', not 'spattan'",
        ),
        ("name=a b", r"dense: name: string should match pattern .*, not 'a b'"),
    ],
)
def test_wrong_settings(text, message):
    fails(message, "dense", settings=[text])


@pytest.mark.parametrize(
    "text, message",
    [
        ("lanes = 3\n", r"F: key 'lanes' belongs into \[core\]"),
        ("[core]\nlane = 3\n", r"F: unknown key 'lane' in \[core\]; did you mean 'lanes'\?"),
        ("[cor]\nlanes = 3\n", r"F: unknown key 'cor'; did you mean 'core'\?"),
        ("core = 3\n", r"F: core must be a table \[core\], not 3"),
        ("[core\n", r"F: not valid TOML: .*"),
        ("extends = ['dense']\n", r"F: extends \['dense'\], unknown preset; .*"),
        ("a = " + "[" * 5000 + "]" * 5000, r"F: not valid TOML: nested too deeply"),
        ("extends = 'dens'\n", r"F: extends 'dens', unknown preset; did you mean 'dense'\?"),
        ("[run]\nbits = '8'\n", r"F: run\.bits: must be 8 or 12, not '8'"),
        ("[core]\nlanes = 8.0\n", r"F: lanes must be an integer, not 8\.0"),
    ],
)
def test_wrong_files(tmp_path, text, message):
    path = tmp_path / "f.toml"
    path.write_text(text)
    fails(message.replace("F", re.escape(str(path)), 1), str(path))


def test_unreadable_files(tmp_path):
    fails(rf"{tmp_path}/none\.toml: no such file", f"{tmp_path}/none.toml")
    (tmp_path / "bin.toml").write_bytes(b"\xff\xfe\x00")
    fails(rf"{tmp_path}/bin\.toml: not a text file \(UTF-8\)", f"{tmp_path}/bin.toml")
    (tmp_path / "dir.toml").mkdir()
    fails(rf"{tmp_path}/dir\.toml: cannot be read: Is a directory", f"{tmp_path}/dir.toml")


def test_unknown_systems():
    fails(r"unknown system 'dens'; did you mean 'dense'\?", "dens")
    known = (
        "dense, dense-full, dense-tiny, leopard, leopard-ecp5, leopard-hp, leopard-tiny, "
        "spatten, spatten-ecp5, spatten-full, spatten-tiny"
    )
    fails(rf"unknown system 'zzz'; known: {known}", "zzz")


def test_an_overlay_extends_nothing(tmp_path):
    path = tmp_path / "o.toml"
    path.write_text('extends = "dense"\n')
    fails(
        rf"{path}: an overlay cannot extend a preset; name that as SYSTEM", "dense", overlays=[path]
    )

"""The pages in docs/ and the plugins' READMEs: their examples run, their tables are true."""

import doctest
import pathlib
import re
import runpy

import keras
import pytest

ROOT = pathlib.Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
READMES = sorted(ROOT.glob("plugins/*/README.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples(page):
    failures, _ = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert failures == 0


@pytest.mark.one_in(2)
@pytest.mark.parametrize("page", [*PAGES, *READMES], ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks(page, tmp_path, monkeypatch):
    """One after the other, as a reader would type them."""
    monkeypatch.chdir(tmp_path)
    text, names = page.read_text(encoding="utf-8"), {"__name__": "docs"}
    for code in re.findall(r"^```python\n(.*?)^```$", text, flags=re.M | re.S):
        if ">>> " not in code:
            exec(compile(code, page.name, "exec"), names)  # noqa: S102


def test_the_page_with_examples_has_some():
    text = (ROOT / "docs" / "dispatch.md").read_text(encoding="utf-8")
    assert text.count(">>> ") >= 8


def test_tables_of_the_dispatcher():
    tool = runpy.run_path(str(ROOT / "tools" / "dispatch_tables.py"))
    text = (ROOT / "docs" / "dispatch.md").read_text(encoding="utf-8")
    assert tool["page"](text) == text, "run python tools/dispatch_tables.py"
    assert tool["page"](text.replace("hard_sigmoid", "")) == text


@pytest.mark.once
def test_sessions(tmp_path):
    """Those that need neither Keras nor a file; the tool repeats the others too."""
    tool = runpy.run_path(str(ROOT / "tools" / "sessions.py"))
    text = (ROOT / "docs" / "command.md").read_text(encoding="utf-8")
    assert tool["page"](text, tmp_path, {"list", "new"}) == text, "run python tools/sessions.py"
    older = text.replace("mi_gru", "mi_gro").replace("tests/test_laws.py", "tests/laws.py")
    assert tool["page"](older, tmp_path, {"list", "new"}).count("mi_gro") == 0
    assert "tests/test_laws.py" in tool["page"](older, tmp_path, {"list", "new"})


def test_table_of_figures():
    tool = runpy.run_path(str(ROOT / "tools" / "speed_tables.py"))
    text = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
    assert tool["page"](text) == text, "run python tools/speed_tables.py"
    assert "| ln_gru | 8x200x32x64 |" in text


@pytest.mark.slow
@pytest.mark.once
def test_the_catalogue_is_complete():
    tool = runpy.run_path(str(ROOT / "tools" / "catalogue.py"))
    pages = dict(tool["pages"]())
    assert len(pages) == 11
    for path, text in pages.items():
        assert path.read_text(encoding="utf-8") == text, "run python tools/catalogue.py"
    assert "| 4FU + 4U² + 4U |" in pages[ROOT / "docs" / "catalogue.md"]


def test_where_a_cell_of_another_library_is():
    """Every line of code runs; no class of torchrecurrent is forgotten."""
    text = (ROOT / "docs" / "migrating.md").read_text(encoding="utf-8")
    names = {"__name__": "docs"}
    exec(re.search(r"^```python\n(.*?)^```$", text, flags=re.M | re.S)[1], names)  # noqa: S102
    code = re.findall(r"^\|[^|\n]*\| `(.*?)` \|", text, flags=re.M)
    assert len(code) > 90
    for line in code:
        made = eval(line, names)  # noqa: S307
        is_cell_layer = line.startswith("kcells.build") and line.endswith(")")
        assert isinstance(made, keras.layers.Layer) or not is_cell_layer, line
    library = pytest.importorskip("torchrecurrent")
    theirs = {name for name in dir(library) if name.endswith("Cell")}
    assert len(theirs) > 40
    assert theirs <= set(re.findall(r"`(\w+)`", text))


CONTRIB_RNN = """
    AttentionCellWrapper BasicLSTMCell BasicRNNCell BidirectionalGridLSTMCell CompiledWrapper
    Conv1DLSTMCell Conv2DLSTMCell Conv3DLSTMCell ConvLSTMCell CoupledInputForgetGateLSTMCell
    DeviceWrapper DropoutWrapper EmbeddingWrapper FusedRNNCell FusedRNNCellAdaptor GLSTMCell
    GRUBlockCell GRUBlockCellV2 GRUCell GridLSTMCell HighwayWrapper IndRNNCell IndyGRUCell
    IndyLSTMCell InputProjectionWrapper IntersectionRNNCell LSTMBlockCell LSTMBlockFusedCell
    LSTMBlockWrapper LSTMCell LSTMStateTuple LayerNormBasicLSTMCell LayerRNNCell MultiRNNCell
    NASCell OutputProjectionWrapper PhasedLSTMCell RNNCell ResidualWrapper SRUCell
    TimeFreqLSTMCell TimeReversedFusedRNN UGRNNCell best_effort_input_batch_size
    stack_bidirectional_dynamic_rnn stack_bidirectional_rnn static_bidirectional_rnn
    static_rnn static_state_saving_rnn transpose_batch_time
"""
"""The names of tf.contrib.rnn in TensorFlow 1.15."""

NN = "bidirectional_dynamic_rnn dynamic_rnn raw_rnn static_rnn static_state_saving_rnn"

SEQ2SEQ = """
    AttentionMechanism AttentionWrapper AttentionWrapperState BahdanauAttention
    BahdanauMonotonicAttention BasicDecoder BasicDecoderOutput BeamSearchDecoder
    BeamSearchDecoderOutput BeamSearchDecoderState CustomHelper Decoder
    FinalBeamSearchDecoderOutput GreedyEmbeddingHelper Helper InferenceHelper LuongAttention
    LuongMonotonicAttention SampleEmbeddingHelper ScheduledEmbeddingTrainingHelper
    ScheduledOutputTrainingHelper TrainingHelper dynamic_decode gather_tree hardmax
    monotonic_attention safe_cumprod sequence_loss tile_batch
"""
"""The names of tf.contrib.seq2seq in TensorFlow 1.15."""

ADDONS_SEQ2SEQ = """
    BaseDecoder CustomSampler GreedyEmbeddingSampler InferenceSampler SampleEmbeddingSampler
    Sampler ScheduledEmbeddingTrainingSampler ScheduledOutputTrainingSampler SequenceLoss
    TrainingSampler gather_tree_from_array
"""
"""What TensorFlow Addons has besides."""


@pytest.mark.once
@pytest.mark.parametrize("names", [CONTRIB_RNN, NN, SEQ2SEQ, ADDONS_SEQ2SEQ])
def test_every_name_of_an_api_has_a_row(names):
    text = (ROOT / "docs" / "migrating.md").read_text(encoding="utf-8")
    rows = {
        name
        for row in re.findall(r"^\| (.*?) \|", text, flags=re.M)
        for name in re.findall(r"`(\w+)", row)
    }
    assert set(names.split()) <= rows

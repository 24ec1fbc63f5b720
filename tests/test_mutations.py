"""The list of `make mutations` speaks of the source and the tests as they are."""

import ast

import pytest

from tests.mutations import MUTATIONS, ROOT, Mutation


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.name)
def test_its_text_stands_once_in_the_source_and_its_test_exists(mutation: Mutation) -> None:
    source = (ROOT / mutation.file).read_text()
    assert mutation.mutated(source) != source
    file, _, name = mutation.test.partition("::")
    tree = ast.parse((ROOT / "tests" / file).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_no_two_have_the_same_name() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.name)
def test_it_changes_the_functions_that_are_installed_last(mutation: Mutation) -> None:
    """A text in functions that a later version replaces would change nothing."""
    name, dot, _ = mutation.file.partition(".v")
    versions = ROOT.glob(f"{name}.v*.sql") if dot else []
    newer = [file for file in versions if _version(file.name) > _version(mutation.file)]
    assert newer == []


def _version(file: str) -> int:
    return int(file.rpartition(".v")[2].removesuffix(".sql"))

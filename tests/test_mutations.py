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

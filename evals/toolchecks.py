"""Tool checks: whether an answer calls the wanted tools with the wanted arguments, or any tool as its schema asks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from evals.answers import GradedAnswer
from evals.jsonchecks import fits, json_equal, read_json, schema_fault
from evals.suite import Assertion

CALL_KEYS: Final = frozenset({"name", "arguments", "accepted", "optional"})
CALLS_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a function. `arguments` is None where the model wrote no JSON object."""

    name: str
    arguments: Mapping[str, Any] | None


def calls_of(answer: GradedAnswer) -> list[ToolCall]:
    """The answer's calls; what is malformed is a call without a name."""
    return [_call(raw) for raw in answer.tool_calls[:CALLS_MAX]]


def _call(raw: Mapping[str, Any]) -> ToolCall:
    function = raw.get("function")
    if not isinstance(function, Mapping):
        return ToolCall("", None)
    text = function.get("arguments")
    _, arguments = read_json(text) if isinstance(text, str) and text.strip() else (True, {})
    return ToolCall(str(function.get("name") or ""), arguments if isinstance(arguments, Mapping) else None)


# --- the wanted calls ----------------------------------------------------------------------------


def tool_call(assertion: Assertion, answer: GradedAnswer) -> float:
    """1 where the answer makes the wanted calls, each once, in any order, and no other."""
    wanted, made = wanted_calls(assertion.value), calls_of(answer)
    if len(made) != len(wanted):
        return 0.0
    return float(_all_paired([[index for index, call in enumerate(made) if matches(one, call)] for one in wanted]))


def wanted_calls(value: Any) -> Sequence[Mapping[str, Any]]:
    """The calls that an assertion's value means: one, a list, or JSON text of either; [] wants that none is made."""
    if isinstance(value, str):
        _, value = read_json(value)
    return [value] if isinstance(value, Mapping) else value


def matches(wanted: Mapping[str, Any], made: ToolCall) -> bool:
    """True where name and arguments are the wanted ones.

    As in the AST check of BFCL (gorilla): an argument may have several `accepted` values, an `optional` one may be
    missing, and one that nobody asked for is a fault. Texts are compared as they are, unlike there.
    """
    if made.name != wanted["name"] or made.arguments is None:
        return False
    fixed = {name: [value] for name, value in wanted.get("arguments", {}).items()}
    accepted = {**fixed, **wanted.get("accepted", {})}
    if not (made.arguments.keys() <= accepted.keys() and accepted.keys() - made.arguments.keys() <= _optional(wanted)):
        return False
    return all(any(json_equal(value, one) for one in accepted[name]) for name, value in made.arguments.items())


def _optional(wanted: Mapping[str, Any]) -> set[str]:
    return set(wanted.get("optional", ()))


def _all_paired(choices: Sequence[Sequence[int]]) -> bool:
    """True where every row can have one of its choices to itself (augmenting paths)."""
    owner: dict[int, int] = {}

    def finds(row: int, tried: set[int]) -> bool:
        for choice in choices[row]:
            if choice not in tried:
                tried.add(choice)
                if choice not in owner or finds(owner[choice], tried):
                    owner[choice] = row
                    return True
        return False

    return all(finds(row, set()) for row in range(len(choices)))


def wanted_fault(value: Any) -> str:
    """What is wrong with the value of `tool-call`; empty if nothing."""
    calls = wanted_calls(value)
    if not isinstance(calls, list) or len(calls) > CALLS_MAX:
        return f"`value` is a call {{name, arguments}}, or a list of at most {CALLS_MAX}; [] where none may be made"
    return next((fault for call in calls if (fault := _call_fault(call))), "")


def _call_fault(call: Any) -> str:
    if not isinstance(call, Mapping) or not isinstance(call.get("name"), str) or call.keys() - CALL_KEYS:
        return "a call is {name, arguments, accepted, optional}, and `name` a text"
    arguments, accepted, optional = (call.get(name, kind()) for name, kind in _PARTS)
    if not isinstance(arguments, Mapping) or not isinstance(accepted, Mapping):
        return "`arguments` maps names to values, `accepted` names to lists of values"
    if not all(isinstance(values, list) and values for values in accepted.values()):
        return "`accepted` maps names to lists of values that are not empty"
    if not isinstance(optional, list) or not {str(name) for name in optional} <= {*arguments, *accepted}:
        return "`optional` lists names that `arguments` or `accepted` has"
    return ""


_PARTS: Final = (("arguments", dict), ("accepted", dict), ("optional", list))


# --- the offered tools ---------------------------------------------------------------------------


def valid_tools_call(tools: Sequence[Mapping[str, Any]], answer: GradedAnswer) -> float:
    """1 where the answer calls at least one tool, and each call is of an offered one with arguments that fit it."""
    schemas = {tool["function"]["name"]: tool["function"].get("parameters") for tool in tools}
    made = calls_of(answer)
    return float(bool(made) and all(_is_offered(call, schemas) for call in made))


def _is_offered(call: ToolCall, schemas: Mapping[str, Any]) -> bool:
    return call.name in schemas and call.arguments is not None and fits(schemas[call.name], dict(call.arguments))


def tools_fault(tools: Any) -> str:
    """What is wrong with the tools that a request offers; empty if nothing."""
    if not isinstance(tools, list) or not tools:
        return "a list of {type: function, function: {name, parameters}} is wanted here"
    return next((fault for tool in tools if (fault := _tool_fault(tool))), "")


def _tool_fault(tool: Any) -> str:
    function = tool.get("function") if isinstance(tool, Mapping) and tool.get("type") == "function" else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        return "a tool is {type: function, function: {name, description, parameters}}"
    fault = schema_fault(function["parameters"]) if "parameters" in function else ""
    return f"parameters of {function['name']}: {fault}" if fault else ""

#!/usr/bin/env python3
"""Writes tests/golden/jinja/cases.json: templates of our own and what Jinja2 (the Python package, 3.1.6 here) makes of
them in the environment that transformers sets up for chat templates. Our interpreter must give the same.

usage: make_jinja_golden.py          needs the package jinja2
"""

import datetime
import json
from pathlib import Path

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from jinja_chats import CHATS, CONVERSATIONS, TOOLS
from jinja_snippets import EXPRESSIONS, STATEMENTS, VARIABLES

OUT = Path(__file__).resolve().parents[1] / "golden/jinja/cases.json"
NOW = datetime.datetime(2031, 2, 3, 4, 5, 6)


class Generation(Extension):
    """{% generation %}…{% endgeneration %} that only passes its text on."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("pass_on"), [], [], body).set_lineno(line)

    def pass_on(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda pattern: NOW.strftime(pattern)
    return env


def outcome(env, template, variables):
    """{"expected": text} or {"error": message}"""
    try:
        return {"expected": env.from_string(template).render(**variables)}
    except Exception as error:  # whatever it is, ours must fail too
        return {"error": str(error)}


def main():
    env = environment()
    cases = []
    for expression in EXPRESSIONS:
        template = "{{ " + expression + " }}" if "\n" not in expression else expression
        cases.append({"template": template, **outcome(env, template, VARIABLES)})
    for name, template in STATEMENTS.items():
        cases.append({"name": name, "template": template, **outcome(env, template, VARIABLES)})
    chats = []
    for name, template in CHATS.items():
        for conversation, messages in CONVERSATIONS.items():
            for extra in ({}, {"tools": TOOLS}, {"enable_thinking": False}, {"tools": TOOLS, "tools_in_user_message": False}):
                for prompt in (False, True):
                    variables = {"messages": messages, "tools": None, "add_generation_prompt": prompt, "bos_token": "<s>", "eos_token": "</s>", **extra}
                    chats.append({"template": name, "conversation": conversation, "variables": {"add_generation_prompt": prompt, **extra},
                                  **outcome(env, template, variables)})
    OUT.parent.mkdir(parents=True, exist_ok=True)
    variables = {**VARIABLES, "big": None}  # JSON readers differ on 10**30; the test sets it
    OUT.write_text(json.dumps({"jinja2": jinja2.__version__, "now": NOW.isoformat(), "variables": variables, "cases": cases, "templates": CHATS,
                               "conversations": CONVERSATIONS, "chats": chats}, ensure_ascii=False, indent=1) + "\n")
    print(f"{len(cases)} snippets, {len(chats)} chats")


if __name__ == "__main__":
    main()

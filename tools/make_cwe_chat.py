#!/usr/bin/env python3
"""Makes chat data out of MITRE's CWE catalogue: questions about each weakness, answered from its fields.

usage: make_cwe_chat.py CATALOGUE OUT_DIR

CATALOGUE is a wheel of the package cwe2, the folder it was unpacked to, or a cwec_v*.xml. Writes train.jsonl and
heldout.jsonl, one {"messages": [user, assistant]} a line. The split is by weakness (about 5 %): the model never sees a
question about a held-out weakness, nor an answer that consists of sentences it was trained on. The same catalogue
gives the same bytes.
"""

import hashlib
import json
import re
import sys
import textwrap
from collections import Counter
from pathlib import Path

from cwe_catalogue import read_catalogue, sentences, shorten

MAX_ANSWER = 900  # characters, about 200 tokens
HELDOUT_SHARE = 0.05

LEVELS = {
    "Pillar": "one of the most abstract themes of the catalogue",
    "Class": "a broad class of weaknesses",
    "Base": "a base-level weakness, independent of any one language or technology",
    "Variant": "a variant, tied to a certain kind of product or language",
    "Compound": "a compound of several weaknesses",
}
IMPACTS = {
    "Read Application Data": "read application data",
    "Bypass Protection Mechanism": "bypass a protection mechanism",
    "Execute Unauthorized Code or Commands": "execute unauthorized code or commands",
    "Gain Privileges or Assume Identity": "gain privileges or assume another identity",
    "DoS: Crash, Exit, or Restart": "crash or restart the product",
    "Unexpected State": "bring the product into an unexpected state",
    "Modify Memory": "modify memory",
    "Modify Application Data": "modify application data",
    "Read Memory": "read memory",
    "Read Files or Directories": "read files or directories",
    "Modify Files or Directories": "modify files or directories",
    "Alter Execution Logic": "alter the logic of execution",
    "DoS: Resource Consumption (CPU)": "use up processor time",
    "DoS: Resource Consumption (Memory)": "use up memory",
    "DoS: Resource Consumption (Other)": "use up resources",
    "Hide Activities": "hide activities",
    "DoS: Instability": "make the product unstable",
    "DoS: Amplification": "amplify an attack",
}
QUALITY_IMPACTS = {
    "Quality Degradation": "lowers the quality of the product",
    "Reduce Maintainability": "makes the product harder to maintain",
    "Reduce Reliability": "makes the product less reliable",
    "Reduce Performance": "makes the product slower",
}
# The catalogue's stock note about detection, which says nothing about the weakness.
STOCK_DETECTION = re.compile(r"According to SOAR, the following detection techniques may be useful:\s*")

# Its stock notes about introduction say no more than the phase beside them.
STOCK_INTRODUCTION = re.compile(r"This weakness (?:is caused (?:during implementation of an architectural security tactic"
                                r"|by missing a security tactic)|refers to an incorrect design related to)")

QUESTIONS = {
    "what": ("What is {title}?", "Explain {title}.", "What does {title} mean?", "Describe {title}."),
    "arise": ("How does {title} arise?", "How does {title} get into a product?", "When is {title} introduced?"),
    "follow": ("What can follow from {title}?", "What are the consequences of {title}?",
               "What can an attacker do with {title}?"),
    "prevent": ("How can {title} be prevented?", "How do I avoid {title}?", "What helps against {title}?"),
    "detect": ("How can {title} be detected?", "How do I find {title} in a product?"),
    "observed": ("Where has {title} been seen in practice?", "Name known vulnerabilities that come from {title}.",
                 "Give examples of real cases of {title}."),
    "code": ("Show an example of code with {title}.", "What does {title} look like in code?"),
    "related": ("Which weaknesses are related to {title}?", "How does {title} relate to other weaknesses?"),
    "terms": ("What other names are there for {title}?",),
    "platforms": ("Which languages and technologies does {title} concern?",),
    "likelihood": ("How likely is it that {title} is exploited?",),
    "name": ("Which weakness is this? {text}", "{text} Which CWE entry describes this?",
             "Name the weakness that fits this description: {text}"),
    "report": ("Which weakness does this report show? {text}", "A vulnerability report says: {text} Which CWE is it?"),
}


def listed(items):
    """"a", "a and b", "a, b and c"."""
    items = list(items)
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def sentence(text):
    """With a capital at the start and a full stop at the end."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?", '."', ".)")) else ".")


def reference(weakness):
    return f"CWE-{weakness.id} ({weakness.name})"


def title(weakness, turn, by_number):
    """How a person would write it: by number and name, by its common name, or (where `by_number`) by number alone."""
    forms = [reference(weakness), f'the weakness "{weakness.name}" (CWE-{weakness.id})', f"CWE-{weakness.id}"]
    if weakness.nickname:
        forms[1] = f"{weakness.nickname} (CWE-{weakness.id})"
    return forms[turn % (3 if by_number else 2)]


def bullets(items, limit):
    """As many items as fit, each "- text"; an item may take half of the room, so that there are several."""
    out, seen = [], set()
    for head, text in items:
        room = limit - sum(len(line) + 1 for line in out)
        body = shorten(text.replace("\n- ", " ").replace("\n", " "), min(room - len(head) - 4, max(limit // 2, 200)))
        if not body or body in seen:
            continue
        seen.add(body)
        out.append(f"- {head}: {sentence(body)}" if head else f"- {sentence(body)}")
    return "\n".join(out)


# --- one function per kind of question: the answer, or "" where the catalogue says nothing ----------------------------


def answer_what(w, _):
    start = f"{reference(w)} is {LEVELS.get(w.level, 'a weakness')}. {sentence(w.description)}"
    more = shorten(w.extended, MAX_ANSWER - len(start) - 1)
    return start + ("\n" + more if more else "")


def answer_arise(w, _):
    phases = list(dict.fromkeys(phase.lower() for phase, _ in w.introductions))
    if not phases:
        return ""
    notes = list(dict.fromkeys(note for _, note in w.introductions if note and not STOCK_INTRODUCTION.match(note)))
    start = f"{reference(w)} is introduced in the phase of {listed(phases)}." if len(phases) == 1 else \
        f"{reference(w)} can be introduced in several phases: {', '.join(phases)}."
    start += f" {sentence(w.description)}"
    more = shorten("\n".join(notes) or w.extended, MAX_ANSWER // 2 - len(start))
    return start + ("\n" + more if more else "")


def consequence(scopes, impacts, note):
    known = [IMPACTS[i] for i in impacts if i in IMPACTS]
    quality = [QUALITY_IMPACTS[i] for i in impacts if i in QUALITY_IMPACTS]
    said = []
    if known:
        said.append(f"an attacker can {listed(known)}.")
    if quality:
        said.append(f"the weakness {listed(quality)}.")
    text = " ".join([sentence(s) for s in said] + ([note] if note else []))
    named = [s for s in scopes if s != "Other"]
    return listed(named) if named else "In general", text


def answer_follow(w, _):
    items = bullets([consequence(*c) for c in w.consequences], MAX_ANSWER - 100)
    return f"{reference(w)} can have these consequences:\n{items}" if items else ""


def answer_prevent(w, _):
    items = bullets([(listed(phases) if phases else "", text) for phases, text in w.mitigations], MAX_ANSWER - 100)
    return f"Against {reference(w)}:\n{items}" if items else ""


def answer_detect(w, _):
    items = []
    for method, effectiveness, text in w.detections:
        text = STOCK_DETECTION.sub("", text)
        text = re.sub(r"(Highly cost effective|Cost effective for partial coverage):\n- ", r"\1: ", text).replace("\n- ", "; ")
        level = effectiveness.lower() if effectiveness in ("High", "Moderate", "Limited") else ""
        items.append((f"{method} (effectiveness: {level})" if level else method, text))
    items = bullets(items, MAX_ANSWER - 100)
    return f"{reference(w)} can be found in these ways:\n{items}" if items else ""


def answer_observed(w, _):
    items = bullets([o for o in w.observed if o[0].startswith("CVE-")][:6], MAX_ANSWER - 100)
    return f"{reference(w)} has been observed in these vulnerabilities:\n{items}" if items else ""


def answer_code(w, _):
    for intro, language, code, explanation in w.examples:
        intro, explanation = shorten(intro, 300) or without_colon(intro, 300), shorten(explanation, 400)
        if intro and explanation and 20 < len(code) <= 500 and len(intro) + len(code) + len(explanation) < MAX_ANSWER:
            fence = language.lower().replace("other", "").replace(" ", "")
            return f"{intro}\n```{fence}\n{code}\n```\n{explanation}\nThis is an example of {reference(w)}."
    return ""


def without_colon(text, limit):
    """A text that introduces what follows keeps its colon, as long as it is short."""
    return text if len(text) <= limit and text.endswith(":") and "\n" not in text else ""


def answer_related(w, all_weaknesses):
    def named(ids):
        return listed([reference(all_weaknesses[i]) for i in ids[:5]]) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")

    def of(nature):
        return sorted({i for n, i in w.related if n == nature and i in all_weaknesses})

    children = [c.id for c in all_weaknesses.values() if ("ChildOf", w.id) in c.related]
    lines = [(of("ChildOf"), "It is a more specific form of {}."), (children, "More specific forms of it are {}."),
             (of("CanPrecede"), "It can lead to {}."), (of("Requires"), "It needs {} to be there as well."),
             (of("PeerOf") or of("CanAlsoBe"), "It is similar to {}.")]
    said = [form.format(named(ids)) for ids, form in lines if ids]
    if not said:
        return ""
    said[0] = re.sub(r"\b[Ii]t\b", lambda _: reference(w), said[0], count=1)
    return shorten(" ".join(said), MAX_ANSWER)


def answer_terms(w, _):
    if not w.alternate_terms:
        return ""
    items = [f"- {term}" + (f": {sentence(shorten(text, 300))}" if shorten(text, 300) else "") for term, text in w.alternate_terms]
    return shorten(f"{reference(w)} is also known under these terms:\n" + "\n".join(items), MAX_ANSWER)


def answer_platforms(w, _):
    said = []
    if w.languages:
        said.append(f"It is found in products written in {listed(w.languages)}.")
    if w.technologies:
        said.append(f"It concerns these technologies: {listed([t for t in w.technologies if t != 'Other'] or ['various'])}.")
    return f"{sentence(w.description)} {' '.join(said)} The catalogue lists it as {reference(w)}." if said else ""


def answer_likelihood(w, _):
    if not w.likelihood:
        return ""
    reason = bullets([consequence(*c) for c in w.consequences], 350)
    return f"The likelihood that {reference(w)} is exploited is {w.likelihood.lower()}." + \
        (f" What makes it worth an attacker's while:\n{reason}" if reason else "")


def answer_name(w, all_weaknesses):
    parents = [all_weaknesses[i] for n, i in w.related if n == "ChildOf" and i in all_weaknesses]
    return f"This is CWE-{w.id}: {sentence(w.name)}" + (f" It is a more specific form of {reference(parents[0])}." if parents else "")


def answer_report(w, _):
    return f"It shows CWE-{w.id}: {sentence(w.name)} {sentence(w.description)}"


ANSWERS = {"what": answer_what, "arise": answer_arise, "follow": answer_follow, "prevent": answer_prevent,
           "detect": answer_detect, "observed": answer_observed, "code": answer_code, "related": answer_related,
           "terms": answer_terms, "platforms": answer_platforms, "likelihood": answer_likelihood, "name": answer_name}


def rows_of(w, all_weaknesses, by_number, shared_reports):
    """(kind, question, answer) of one weakness."""
    for place, (kind, answer) in enumerate(ANSWERS.items()):
        text = answer(w, all_weaknesses)
        if not text or len(text) > MAX_ANSWER:
            continue
        forms = QUESTIONS[kind]
        form = forms[(w.id + place) % len(forms)]
        subject = w.description if kind == "name" else ""
        yield kind, form.format(title=title(w, w.id // 7 + place, by_number), text=sentence(subject)), text
    # One report that fits this weakness alone, from the end of the list: the answer about observed cases starts at its top.
    reports = [text for ref, text in w.observed if ref.startswith("CVE-") and 60 < len(text) < 400 and text not in shared_reports]
    if reports:
        forms = QUESTIONS["report"]
        yield "report", forms[w.id % len(forms)].format(text=sentence(reports[-1])), answer_report(w, all_weaknesses)


def number_of(text):
    """A number in [0, 1) that depends only on the text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def split(weaknesses):
    """(train, held out): lists of (kind, question, answer), each mixed so that any first part of it is a fair sample."""
    train, heldout = [], []
    uses = Counter(text for w in weaknesses.values() for _, text in set(w.observed))
    shared_reports = {text for text, count in uses.items() if count > 1}
    for w in weaknesses.values():
        is_heldout = number_of(f"CWE-{w.id}") < HELDOUT_SHARE
        (heldout if is_heldout else train).extend(rows_of(w, weaknesses, not is_heldout, shared_reports))
    known = {s for _, _, answer in train for line in answer.split("\n") for s in sentences(line)}

    def is_new(row):
        said = [s for line in row[2].split("\n") for s in sentences(line)]
        return sum(len(s) for s in said if s in known) < 0.5 * sum(map(len, said))

    by_number = lambda row: number_of(row[1])
    return sorted(train, key=by_number), sorted(filter(is_new, heldout), key=by_number)


def write_jsonl(path, rows):
    with open(path, "w", encoding="utf-8") as file:
        for _, question, answer in rows:
            messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            file.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")


def make(catalogue, out):
    """Writes train.jsonl and heldout.jsonl into `out` and prints what is in them."""
    version, weaknesses = read_catalogue(catalogue)
    out.mkdir(parents=True, exist_ok=True)
    print(f"CWE {version}: {len(weaknesses)} weaknesses (MITRE; used under the CWE terms of use)")
    kinds = Counter()
    for name, rows in zip(("train.jsonl", "heldout.jsonl"), split(weaknesses)):
        write_jsonl(out / name, rows)
        kinds.update(row[0] for row in rows)
        print(f"  {name:<14}{len(rows):>6,} pairs {sum(len(r[1]) + len(r[2]) for r in rows):>10,} characters")
    print(textwrap.fill("  by question: " + ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items())), 100,
                        subsequent_indent="    "))


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    make(Path(sys.argv[1]), Path(sys.argv[2]))


if __name__ == "__main__":
    main()

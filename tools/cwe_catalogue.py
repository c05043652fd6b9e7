"""Reads MITRE's CWE catalogue (XML, schema 7) into plain records with readable text: markup becomes paragraphs and
lists, references such as [REF-12] and white space of the layout go away."""

import re
import xml.etree.ElementTree as ElementTree
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

ABBREVIATIONS = ("e.g.", "i.e.", "etc.", "vs.", "cf.", "Inc.", "No.", "ver.", "approx.")
# A word that the catalogue puts before a note to say which kind of mistake it is.
NOTE_KIND = re.compile(r"^(?:REALIZATION|OMISSION|COMMISSION)\s*:\s*")


@dataclass
class Weakness:
    id: int
    name: str
    level: str  # Pillar, Class, Base, Variant, Compound
    description: str
    extended: str = ""
    nickname: str = ""  # the part of the name in ('...')
    related: list = field(default_factory=list)  # (nature, id), as ChildOf, CanPrecede
    introductions: list = field(default_factory=list)  # (phase, note)
    consequences: list = field(default_factory=list)  # (scopes, impacts, note)
    mitigations: list = field(default_factory=list)  # (phases, text)
    detections: list = field(default_factory=list)  # (method, effectiveness, text)
    observed: list = field(default_factory=list)  # (reference, text)
    examples: list = field(default_factory=list)  # (intro, language, code, explanation)
    alternate_terms: list = field(default_factory=list)  # (term, text)
    languages: list = field(default_factory=list)
    technologies: list = field(default_factory=list)
    likelihood: str = ""


def tag_of(element):
    return element.tag.split("}")[-1]


def tidy(text):
    """One line of prose: references and layout out."""
    text = re.sub(r"According to \[REF-\d+\],\s*", "", text)
    text = re.sub(r"\s*(?:derived )?(?:from|in)? \[REF-\d+\](?=,)|\s*\[REF-\d+\]", "", text)
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r"\s+([.,;:!?])(?=\s|$)", r"\1", text)
    return re.sub(r"\(\s*(?:see|See)?\s*\)", "", text).strip()


def prose(element):
    """Paragraphs of an element, a list item as a line that starts with "- "."""
    if element is None:
        return ""
    lines = [""]

    def walk(node):
        tag = tag_of(node)
        if tag in ("p", "div", "ul", "ol", "li", "tr", "br"):
            lines.append("- " if tag == "li" else "")
        if tag == "img":
            return
        lines[-1] += node.text or ""
        for child in node:
            walk(child)
            if tag_of(child) in ("p", "div", "ul", "ol", "li", "tr", "br"):
                lines.append("")
            lines[-1] += child.tail or ""

    walk(element)
    tidied = [tidy(line) for line in lines]
    return "\n".join(line for line in tidied if line not in ("", "-"))


def code(element):
    """Source text of an Example_Code, its lines and indents kept."""
    lines = [""]

    def walk(node, indent):
        if tag_of(node) in ("div", "p", "br", "tr", "li"):
            lines.append("")
        inner = indent + ("margin-left" in node.get("style", ""))
        add(node.text, inner)
        for child in node:
            walk(child, inner)
            if tag_of(child) in ("div", "p", "tr", "li"):
                lines.append("")
            add(child.tail, inner)

    def add(text, indent):
        text = re.sub(r"\s*\n\s*", " ", text or "")
        if text.strip():
            lines[-1] += ("  " * indent if not lines[-1] else "") + (text.lstrip() if not lines[-1] else text)

    walk(element, 0)
    return "\n".join(line.rstrip() for line in lines if line.strip())


def sentences(text):
    """The sentences of one paragraph."""
    parts, start = [], 0
    for match in re.finditer(r"[.!?][\"')]*\s+(?=[A-Z0-9\"'(])", text):
        if text[start:match.end()].rstrip().endswith(ABBREVIATIONS):
            continue
        parts.append(text[start:match.end()].strip())
        start = match.end()
    return parts + ([text[start:].strip()] if text[start:].strip() else [])


def shorten(text, limit):
    """As many whole sentences and list items of `text` as fit `limit` characters; may be empty."""
    kept = ""
    for line in text.split("\n"):
        for i, sentence in enumerate([line] if line.startswith("- ") else sentences(line)):
            longer = kept + ("" if not kept else " " if i else "\n") + sentence
            if len(longer) > limit:
                return without_open_end(kept)
            kept = longer
    return without_open_end(kept)


def without_open_end(text):
    """A last line that announces a list which was cut off goes too."""
    while text.endswith(":"):
        text = text.rpartition("\n")[0] if "\n" in text else " ".join(sentences(text)[:-1])
    return text


def all_of(element, path, namespace):
    return element.findall("/".join(namespace + step for step in path.split("/")))


def read_weakness(element, namespace):
    def texts(parent, name):
        return [tidy(e.text or "") for e in parent.findall(namespace + name) if (e.text or "").strip()]

    def child(parent, name):
        return prose(parent.find(namespace + name))

    name = tidy(element.get("Name"))
    nickname = re.search(r"\('(.+)'\)\s*$", name)
    w = Weakness(int(element.get("ID")), name, element.get("Abstraction"), child(element, "Description"),
                 child(element, "Extended_Description"), nickname.group(1) if nickname else "")
    for e in all_of(element, "Related_Weaknesses/Related_Weakness", namespace):
        pair = (e.get("Nature"), int(e.get("CWE_ID")))
        if e.get("View_ID") in ("1000", "699", None) and pair not in w.related:
            w.related.append(pair)
    for e in all_of(element, "Modes_Of_Introduction/Introduction", namespace):
        w.introductions.append((" ".join(texts(e, "Phase")), NOTE_KIND.sub("", child(e, "Note"))))
    for e in all_of(element, "Common_Consequences/Consequence", namespace):
        w.consequences.append((texts(e, "Scope"), texts(e, "Impact"), child(e, "Note")))
    for e in all_of(element, "Potential_Mitigations/Mitigation", namespace):
        w.mitigations.append((texts(e, "Phase"), child(e, "Description")))
    for e in all_of(element, "Detection_Methods/Detection_Method", namespace):
        w.detections.append((child(e, "Method"), child(e, "Effectiveness"), child(e, "Description")))
    for e in all_of(element, "Observed_Examples/Observed_Example", namespace):
        w.observed.append((child(e, "Reference"), child(e, "Description")))
    for e in all_of(element, "Demonstrative_Examples/Demonstrative_Example", namespace):
        w.examples.extend(read_example(e, namespace))
    for e in all_of(element, "Alternate_Terms/Alternate_Term", namespace):
        w.alternate_terms.append((child(e, "Term"), child(e, "Description")))
    w.languages = [e.get("Name") for e in all_of(element, "Applicable_Platforms/Language", namespace) if e.get("Name")]
    w.technologies = [e.get("Name") for e in all_of(element, "Applicable_Platforms/Technology", namespace) if e.get("Name")]
    w.likelihood = child(element, "Likelihood_Of_Exploit")
    return w


def read_example(element, namespace):
    """The vulnerable code of a demonstrative example with the text before and after it; nothing where there is none."""
    intro, found = prose(element.find(namespace + "Intro_Text")), None
    for e in element:
        if tag_of(e) == "Example_Code" and e.get("Nature") == "Bad":
            if found:
                break
            found = [intro, e.get("Language") or "", code(e), ""]
        elif tag_of(e) == "Example_Code" and found:
            break
        elif tag_of(e) == "Body_Text" and found and not found[3]:
            found[3] = prose(e)
    return [tuple(found)] if found else []


def open_catalogue(path):
    """The catalogue's XML out of a file, a folder (an unpacked wheel) or a wheel."""
    path = Path(path)
    if path.is_dir():
        found = sorted(path.rglob("cwec_v*.xml"))
        if not found:
            raise FileNotFoundError(f"{path}: no cwec_v*.xml in this folder")
        return found[-1].open("rb")
    if zipfile.is_zipfile(path):
        wheel = zipfile.ZipFile(path)
        names = sorted(n for n in wheel.namelist() if re.search(r"cwec_v[\d.]+\.xml$", n))
        if not names:
            raise FileNotFoundError(f"{path}: no cwec_v*.xml in this archive")
        return wheel.open(names[-1])
    return path.open("rb")


def read_catalogue(path):
    """(version, {id: Weakness}); what the catalogue marks as deprecated is left out."""
    with open_catalogue(path) as file:
        root = ElementTree.parse(file).getroot()
    namespace = root.tag[: root.tag.index("}") + 1] if root.tag.startswith("{") else ""
    weaknesses = {}
    for element in all_of(root, "Weaknesses/Weakness", namespace):
        if element.get("Status") != "Deprecated":
            weakness = read_weakness(element, namespace)
            weaknesses[weakness.id] = weakness
    return root.get("Version"), weaknesses

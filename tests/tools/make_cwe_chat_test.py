"""tools/make_cwe_chat.py on a small made-up catalogue: readable answers, bounded lengths, a clean and stable split."""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[2] / "tools"
sys.path.insert(0, str(TOOLS))
from cwe_catalogue import read_catalogue, sentences, shorten
from make_cwe_chat import MAX_ANSWER, QUESTIONS, rows_of, split

HEAD = '<Weakness_Catalog xmlns="urn:c" xmlns:h="urn:h" Name="CWE" Version="0.1"><Weaknesses>'
FULL = """
<Weakness ID="1" Name="Leaky Boat ('Sinking')" Abstraction="Base" Status="Draft">
  <Description>The product does not
     close its hatches [REF-3].</Description>
  <Extended_Description><h:p>Water comes in when:</h:p><h:ul><h:li>the sea is high;</h:li><h:li>the hatch is <h:b>open</h:b>.</h:li>
    </h:ul></Extended_Description>
  <Related_Weaknesses><Related_Weakness Nature="ChildOf" CWE_ID="2" View_ID="1000"/>
    <Related_Weakness Nature="ChildOf" CWE_ID="2" View_ID="1000"/></Related_Weaknesses>
  <Modes_Of_Introduction><Introduction><Phase>Implementation</Phase><Note>REALIZATION: Hatches are made late.</Note></Introduction>
  </Modes_Of_Introduction>
  <Common_Consequences><Consequence><Scope>Integrity</Scope><Scope>Availability</Scope><Impact>Modify Memory</Impact>
    <Impact>Read Memory</Impact><Note>The boat sinks</Note></Consequence></Common_Consequences>
  <Potential_Mitigations><Mitigation><Phase>Operation</Phase><Description><h:p>Close it.</h:p><h:p>Lock it.</h:p></Description></Mitigation>
    <Mitigation><Phase>Operation</Phase><Description><h:p>Close it.</h:p><h:p>Lock it.</h:p></Description></Mitigation></Potential_Mitigations>
  <Detection_Methods><Detection_Method><Method>Fuzzing</Method><Description>Pour water.</Description><Effectiveness>High</Effectiveness>
    </Detection_Method></Detection_Methods>
  <Observed_Examples><Observed_Example><Reference>CVE-2000-1</Reference><Description>A ferry that left the harbour with open doors took water and sank.</Description>
    </Observed_Example></Observed_Examples>
  <Demonstrative_Examples><Demonstrative_Example><Intro_Text>This code opens the hatch.</Intro_Text>
    <Example_Code Nature="Bad" Language="C"><h:div>if (sea) {<h:div style="margin-left:1em;">open_the_hatch();<h:br/>sail();</h:div>}</h:div></Example_Code>
    <Body_Text>It never closes it.</Body_Text></Demonstrative_Example></Demonstrative_Examples>
</Weakness>
<Weakness ID="2" Name="Boat" Abstraction="Class" Status="Draft"><Description>All boats.</Description></Weakness>
<Weakness ID="3" Name="Gone" Abstraction="Base" Status="Deprecated"><Description>Not any more.</Description></Weakness>
"""
MANY = "".join(
    f'<Weakness ID="{i}" Name="Flaw {i}" Abstraction="Base" Status="Draft"><Description>Flaw number {i} does wrong. '
    + "It says more and more. " * 90 + "</Description></Weakness>" for i in range(100, 500))


class Chat(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def catalogue(self, body):
        path = self.folder / "cwec_v0.1.xml"
        path.write_text(HEAD + body + "</Weaknesses></Weakness_Catalog>")
        return path

    def answers(self):
        _, weaknesses = read_catalogue(self.catalogue(FULL))
        return {kind: (question, answer) for kind, question, answer in rows_of(weaknesses[1], weaknesses, False, set())}

    def test_deprecated_entries_are_left_out(self):
        _, weaknesses = read_catalogue(self.catalogue(FULL))
        self.assertEqual(sorted(weaknesses), [1, 2])

    def test_answers_are_clean(self):
        rows = self.answers()
        self.assertEqual(set(rows), set(QUESTIONS) - {"terms", "platforms", "likelihood"})
        self.assertIn("The product does not close its hatches.\nWater comes in when:\n- the sea is high;\n- the hatch is open.",
                      rows["what"][1])
        self.assertIn("- Integrity and Availability: An attacker can modify memory and read memory. The boat sinks.", rows["follow"][1])
        self.assertIn("Hatches are made late.", rows["arise"][1])
        self.assertNotIn("REALIZATION", rows["arise"][1])
        self.assertEqual(rows["prevent"][1].count("Operation: Close it. Lock it."), 1)
        self.assertIn("Fuzzing (effectiveness: high): Pour water.", rows["detect"][1])
        self.assertIn("```c\nif (sea) {\n  open_the_hatch();\n  sail();\n}\n```\nIt never closes it.", rows["code"][1])
        self.assertIn("more specific form of CWE-2 (Boat).", rows["related"][1])
        self.assertIn("The product does not close its hatches.", rows["name"][0])
        self.assertIn("CWE-1: Leaky Boat", rows["report"][1])

    def test_shorten_keeps_whole_sentences(self):
        self.assertEqual(sentences("It is e.g. This one. And that!"), ["It is e.g. This one.", "And that!"])
        self.assertEqual(shorten("One two. Three four. Five.", 21), "One two. Three four.")
        self.assertEqual(shorten("Look:\n- a\n- b", 7), "")  # a list that lost its items is not announced
        self.assertEqual(shorten("Endless words without a stop", 10), "")

    def test_split_is_by_weakness_and_bounded(self):
        _, weaknesses = read_catalogue(self.catalogue(MANY))
        train, heldout = split(weaknesses)
        ids = [{int(row[2].split("CWE-")[1].split()[0].strip(":")) for row in rows} for rows in (train, heldout)]
        self.assertFalse(ids[0] & ids[1])
        self.assertTrue(5 <= len(ids[1]) <= 40, len(ids[1]))
        self.assertTrue(all(len(row[2]) <= MAX_ANSWER for row in train + heldout))

    def test_the_same_catalogue_gives_the_same_bytes(self):
        catalogue = self.catalogue(FULL + MANY)
        written = []
        for name in ("a", "b"):
            subprocess.run([sys.executable, "-B", TOOLS / "make_cwe_chat.py", catalogue, self.folder / name], check=True, capture_output=True)
            written.append([(self.folder / name / f).read_bytes() for f in ("train.jsonl", "heldout.jsonl")])
        self.assertEqual(*written)
        for line in written[0][0].decode().splitlines():
            self.assertEqual([m["role"] for m in json.loads(line)["messages"]], ["user", "assistant"])


if __name__ == "__main__":
    unittest.main()

"""The lint scripts find what they are there to find, on small made-up trees."""

import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools/lint"))
import check_catalog
import check_includes
import check_python
import check_tree

STAGES = "plimsoll_stage(base)\nplimsoll_stage(memory LIBRARIES plimsoll_base)\nplimsoll_stage(backend/cpu)\n"


class Tree(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        self.write("src/CMakeLists.txt", STAGES)

    def write(self, path, text):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def tree_errors(self):
        files = [p.relative_to(self.root) for p in sorted(self.root.rglob("*")) if p.is_file()]
        return check_tree.check(self.root, files)[0]


class Catalog(Tree):
    def problems(self, row):
        self.write("catalog/devices.csv", "device,figure,value,unit,source,date\n" + row + "\n")
        return check_catalog.check_table(self.root / "catalog/devices.csv")

    def test_addresses_and_files_of_repositories_are_fine(self):
        self.assertEqual(self.problems("a,memory,80,GiB,https://example.org/a,2026-11"), [])
        self.assertEqual(self.problems("a,memory,80,GiB,owner/repo docs/specs.md,2026"), [])
        self.assertEqual(self.problems("a,names,A,,us,2026-11-22"), [])

    def test_figures_without_source_or_date_are_found(self):
        self.assertIn("no source", self.problems("a,memory,80,GiB,,2026")[0])
        self.assertIn("no address", self.problems("a,memory,80,GiB,data sheet,2026")[0])
        self.assertIn("no date", self.problems("a,memory,80,GiB,https://example.org/a,")[0])
        self.assertIn("no date", self.problems("a,memory,80,GiB,https://example.org/a,2026-13")[0])
        self.assertIn("fields", self.problems("a,memory,80,GiB,https://example.org/a")[0])
        row = "a,memory,80,GiB,https://example.org/a,2026"
        self.assertIn("twice", self.problems(row + "\n" + row)[0])


class Includes(Tree):
    def test_downward_is_fine(self):
        self.write("src/base/a.h", "#include <vector>\n")
        self.write("src/memory/b.h", '#include "base/a.h"\n')
        self.write("src/backend/cpu/c.cpp", '#include "memory/b.h"\n#include "hwy/highway.h"\n')
        self.write("apps/cli/main.cpp", '#include "cli/flags.h"\n#include "memory/b.h"\n')
        self.write("apps/cli/flags.h", "")
        self.assertEqual(check_includes.check(self.root), [])

    def test_upward_is_named(self):
        self.write("src/memory/b.h", "")
        self.write("src/base/a.h", '\n#include "memory/b.h"\n')
        [problem] = check_includes.check(self.root)
        self.assertIn("src/base/a.h:2: base/ may not include memory/", problem)

    def test_circle_is_named_once(self):
        self.write("src/base/a.h", '#include "base/b.h"\n')
        self.write("src/base/b.h", '#include "base/a.h"\n')
        [problem] = check_includes.check(self.root)
        self.assertIn("circle", problem)

    def test_includes_are_written_from_src(self):
        self.write("src/base/a.h", "")
        self.write("src/base/b.h", '#include "a.h"\n#include "base/gone.h"\n')
        self.assertEqual(len(check_includes.check(self.root)), 2)

    def test_test_support_is_for_tests(self):
        self.write("tests/support/s.h", "")
        self.write("src/base/a_test.cpp", '#include "support/s.h"\n')
        self.assertEqual(check_includes.check(self.root), [])
        self.write("apps/cli/main.cpp", '#include "tests/support/s.h"\n')
        self.write("src/nowhere/x.h", "")
        self.assertEqual(len(check_includes.check(self.root)), 1)  # the unknown folder; the app's include finds nothing


class TreeRules(Tree):
    def test_long_files_and_wide_folders(self):
        self.write("src/base/long.cpp", "x\n" * 901)
        for i in range(31):
            self.write(f"src/memory/f{i}.h", "")
        self.assertEqual(len(self.tree_errors()), 2)

    def test_header_source_and_test_are_one_subject(self):
        for i in range(30):
            for name in (f"f{i}.h", f"f{i}.cpp", f"f{i}_test.cpp"):
                self.write(f"src/memory/{name}", "")
        self.assertEqual(self.tree_errors(), [])

    def test_machine_paths_and_unfinished_work(self):
        self.write("src/base/a.cpp", "// see /ho" "me/me/notes\n// TO" "DO later\nint a; \nint b;")
        self.assertEqual(len(self.tree_errors()), 4)
        self.write("src/base/a.cpp", '#include "base/work/a.h"\n// https://example.org/home/x /usr/lib\n')
        self.assertEqual(self.tree_errors(), [])


class Python(Tree):
    def test_syntax_and_unused_names(self):
        self.write("a.py", "import os, sys\ndef f():\n    x = 1\n    y = sys.argv\n    return y\n")
        self.write("b.py", "def f(:\n")
        problems = check_python.check(self.root, [Path("a.py"), Path("b.py")])
        self.assertEqual([p.split(":")[0] for p in problems], ["a.py", "a.py", "b.py"])


if __name__ == "__main__":
    unittest.main()

"""The borders between the parts of the worker: what each says that it uses is what it uses."""

import ast
import builtins
import os
import symtable
import unittest

from harness import HERE
from parts import compile_part, read_parts

LINES_MAX = 400
# What a part may use without an import: the worker's module, given to the others; and the class, where `super` is called.
GIVEN = {"state": {"worker"}, "branch": {"worker"}, "zygote": {"worker"}, "worker": set()}
KNOWN_TO_ALL = {*dir(builtins), "__class__"}


class Part:
    def __init__(self, name, source):
        self.folder, _, file = name.partition("/")
        self.module, self.name = self.folder[len("ostler_") :], file[: -len(".py")]
        self.source, self.tree = source, ast.parse(source)
        self.imported = {}  # name -> the part that it is imported from
        self.modules = {}  # name -> the import that binds it, of what is not ours
        for node in self.tree.body:
            if isinstance(node, ast.ImportFrom) and node.level:
                self.imported.update((alias.name, node.module) for alias in node.names)
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                for alias in node.names:
                    self.modules[alias.asname or alias.name] = getattr(node, "module", None), alias.name
        self.used, bound = names_of(source)
        self.defined = bound - set(self.imported) - set(self.modules)


SCOPES = ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Lambda


def names_of(source):
    """The global names that a part uses, and those that it binds."""
    used, bound, inlined, waiting = set(), set(), set(), [ast.parse(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ExceptHandler):
            bound.add(node.name)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            bound.add(node.name)
        elif isinstance(node, ast.alias):
            bound.add(node.asname or node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
        elif isinstance(node, SCOPES):  # from Python 3.12 on the symbol table takes their names for the module's
            inlined |= {name.id for name in ast.walk(node) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)}
        else:
            waiting.extend(ast.iter_child_nodes(node))

    def look(table, is_module):
        for symbol in table.get_symbols():
            if symbol.is_referenced() if is_module else symbol.is_global():
                used.add(symbol.get_name())
        for child in table.get_children():
            look(child, False)

    look(symtable.symtable(source, "part", "exec"), True)
    return used - (inlined - bound), bound


def problems_of(parts):
    """What is wrong between parts, in words."""
    found, earlier = [], []
    for part in parts:
        others = {other.name: other for other in parts if other.module == part.module and other is not part}
        known = part.defined | set(part.imported) | set(part.modules) | GIVEN[part.module] | KNOWN_TO_ALL
        found += [f"{part.name} uses `{name}` and does not import it" for name in part.used - known]
        found += [f"{part.name} imports `{name}` and does not use it" for name in {*part.imported, *part.modules} - part.used]
        for name, source in part.imported.items():
            if source not in others or name not in others[source].defined:
                found.append(f"{part.name} imports `{name}` from {source}, which does not define it")
        for other in others.values():
            found += [f"{part.name} and {other.name} define `{name}`" for name in part.defined & (other.defined | set(other.modules))]
            found += [f"{part.name} and {other.name} import another `{name}`" for name in part.modules if other.modules.get(name, part.modules[name]) != part.modules[name]]
        for source in set(part.imported.values()) - {other.name for other in earlier if other.module == part.module}:
            found.append(f"{part.name} imports from {source}, which runs later")
        earlier.append(part)
    return found


def all_parts():
    return [Part(name, source) for name, source in read_parts()]


class Borders(unittest.TestCase):
    def test_each_part_imports_exactly_what_it_uses_of_those_before_it(self):
        self.assertEqual(problems_of(all_parts()), [])

    def test_each_kind_of_problem_is_found(self):
        one = '"""One."""\n\nimport io\n\nA = io\n'
        for two, problem in [
            ("print(A)", "two uses `A` and does not import it"),
            ("def f():\n    return A", "two uses `A` and does not import it"),
            ("from .one import A", "two imports `A` and does not use it"),
            ("import os", "two imports `os` and does not use it"),
            ("from .one import B\nB", "two imports `B` from one, which does not define it"),
            ("A = 1", "two and one define `A`"),
            ("io = 1", "two and one define `io`"),
            ("import gc as io\nio", "two and one import another `io`"),
            ("from .three import C\nC", "two imports from three, which runs later"),
        ]:
            parts = [Part(f"ostler_worker/{name}.py", text) for name, text in (("one", one), ("two", two), ("three", "C = 1"))]
            self.assertIn(problem, problems_of(parts))

    def test_what_is_used_of_the_worker_by_its_other_modules_exists(self):
        parts = all_parts()
        own = {name for part in parts if part.module == "worker" for name in part.defined | set(part.modules)}
        for part in parts:
            for node in ast.walk(part.tree):
                if part.module != "worker" and isinstance(node, ast.Attribute) and getattr(node.value, "id", None) == "worker":
                    self.assertIn(node.attr, own, f"{part.folder}/{part.name}")

    def test_every_file_is_a_part_says_what_it_owns_and_is_short(self):
        listed = [name for name, _ in read_parts()]
        files = {
            f"{folder}/{file}"
            for folder in os.listdir(HERE)
            if folder.startswith("ostler_")
            for file in os.listdir(os.path.join(HERE, folder))
            if file.endswith(".py") and file != "__main__.py"
        }
        self.assertEqual(sorted(listed), sorted(files))
        for part in all_parts():
            self.assertIsNotNone(ast.get_docstring(part.tree), part.name)
        for file in [*listed, *(file for file in os.listdir(HERE) if file.endswith(".py"))]:
            with open(os.path.join(HERE, file), encoding="utf-8") as text:
                self.assertLessEqual(len(text.readlines()), LINES_MAX, file)

    def test_lines_keep_their_numbers_and_files_their_names(self):
        source = '"""Doc."""\n\nfrom .one import (\n    A,\n    B,\n)\nfrom .two import C\n\n\ndef f():\n    pass\n'
        code = compile_part("ostler_worker/three.py", source)
        function = next(constant for constant in code.co_consts if hasattr(constant, "co_firstlineno"))
        self.assertEqual((function.co_filename, function.co_firstlineno), ("<ostler_worker/three.py>", 10))
        self.assertEqual(code.co_names, ("f",))


if __name__ == "__main__":
    unittest.main()

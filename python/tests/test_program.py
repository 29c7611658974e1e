"""`python -m procession`, `install()` and the namespace: only its speed shows that it is not the standard library."""

import importlib
import json
import multiprocessing
import pkgutil
import signal
import sys
import textwrap
import types
import zipfile

import pytest

import procession

METHODS = ["fork", "spawn", "forkserver"]
pytestmark = pytest.mark.watchdog(120)

# What a program can see of how it was started.
LOOK = """\
'''Its documentation.'''
import sys, json
names = sorted(set(globals()) - {"__annotations__"})
print(json.dumps({
    "argv": sys.argv,
    "path[0]": sys.path[0],
    "doc": __doc__,
    "file": globals().get("__file__", "none"),
    "name": __name__,
    "package": __package__,
    "spec": __spec__ and [__spec__.name, __spec__.origin, __spec__.parent],
    "loader": getattr(type(__loader__), "__name__"),
    "cached": globals().get("__cached__", "none"),
    "builtins": repr(__builtins__),
    "names": names,
    "is main": sys.modules["__main__"].__dict__ is globals(),
    "flags": repr(sys.flags),
}))
"""


@pytest.fixture
def files(tmp_path):
    """A function that writes files, named and with these contents, and answers their folder."""

    def files(**contents):
        for name, text in contents.items():
            path = tmp_path / name.replace("__slash__", "/")
            if not path.suffix:
                path = path.with_suffix(".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        return tmp_path

    return files


def both(run_python, *args, flags=(), **options):
    """Run a program without and with procession."""
    plain = run_python(*flags, *args, **options)
    ours = run_python(*flags, "-m", "procession", *args, **options)
    return plain, ours


def assert_same(plain, ours):
    assert (ours.returncode, ours.stdout, ours.stderr) == (plain.returncode, plain.stdout, plain.stderr)
    assert not ours.survivors and not ours.litter


def looked(finished):
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


# How it is started


def write_everything(folder):
    (folder / "look.py").write_text(LOOK)
    package = folder / "package"
    (package / "sub").mkdir(parents=True)
    (package / "__init__.py").write_text("imported = True\n")
    (package / "__main__.py").write_text(LOOK)
    (package / "module.py").write_text(LOOK)
    (package / "sub" / "__init__.py").write_text("")
    (package / "sub" / "__main__.py").write_text(LOOK)
    (folder / "namespace").mkdir()
    (folder / "namespace" / "module.py").write_text(LOOK)
    (folder / "folder").mkdir()
    (folder / "folder" / "__main__.py").write_text(LOOK)
    (folder / "no_suffix").write_text(LOOK)
    with zipfile.ZipFile(folder / "archive.zip", "w") as archive:
        archive.writestr("__main__.py", LOOK)
    with zipfile.ZipFile(folder / "archive.pyz", "w") as archive:
        archive.writestr("__main__.py", LOOK)
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "link.py").symlink_to(folder / "look.py")


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["look.py"], marks=pytest.mark.smoke),
        ["look.py", "a", "-m", "-h", "--help", "-c", "b c", "--", "-X"],
        ["./look.py", "x"],
        ["no_suffix"],
        ["elsewhere/link.py"],
        ["folder/../look.py"],
        pytest.param(["-m", "look", "a", "-b"], marks=pytest.mark.smoke),
        ["-mlook", "a"],
        ["-m", "package", "a"],
        ["-m", "package.module"],
        ["-m", "package.sub"],
        ["-m", "package.__main__"],
        ["-m", "namespace.module"],
        pytest.param(["-c", LOOK, "a", "-b"], marks=pytest.mark.smoke),
        ["-c" + LOOK],
        ["folder", "a"],
        ["folder/", "a"],
        ["package"],
        ["archive.zip", "a"],
        ["archive.pyz"],
    ],
    ids=lambda x: " ".join(x)[:20].replace("\n", ""),
)
def test_program_sees_the_same(run_python, tmp_path, arguments):
    write_everything(tmp_path)
    plain, ours = both(run_python, *arguments)
    assert looked(ours) == looked(plain)
    assert_same(plain, ours)


def test_absolute_path(run_python, tmp_path):
    write_everything(tmp_path)
    for name in ("look.py", "folder", "archive.zip"):
        plain, ours = both(run_python, tmp_path / name)
        assert looked(ours) == looked(plain)


@pytest.fixture
def isolated(run_python):
    """Skips where the package is not to be found without PYTHONPATH and the like."""
    if run_python("-I", "-c", "import procession").returncode:
        pytest.skip("procession is not installed")


@pytest.mark.parametrize(
    "flags", [["-E"], ["-I"], ["-O"], ["-OO"], ["-X", "dev"], ["-X", "utf8"], ["-B"], ["-P"], ["-b"]]
)
def test_flags(run_python, tmp_path, flags, isolated):
    write_everything(tmp_path)
    for arguments in (["look.py", "a"], ["-c", LOOK], ["folder"]):
        plain, ours = both(run_python, *arguments, flags=flags)
        assert looked(ours) == looked(plain)
    if not {"-I", "-P"} & set(flags):  # there, the folder is not searched
        plain, ours = both(run_python, "-m", "package.module", flags=flags)
        assert looked(ours) == looked(plain)


CHILD_FLAGS = """\
import sys, multiprocessing
def child():
    print(sys.flags, sys._xoptions, sys.warnoptions, __debug__, flush=True)
if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    p = multiprocessing.Process(target=child)
    p.start()
    p.join()
    child()
"""


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "flags", [["-E"], ["-I"], ["-O"], ["-X", "utf8"], ["-W", "error::UserWarning"]], ids="".join
)
def test_children_inherit_flags(run_python, files, method, flags, isolated):
    files(program=CHILD_FLAGS)
    plain, ours = both(run_python, "program.py", method, flags=flags)
    assert plain.stdout.count("sys.flags") == 2, plain.stderr
    assert_same(plain, ours)


def test_folder_of_the_program_comes_first(run_python, files):
    files(
        program="import helper, json\nprint(helper.value, json.mine)\n",
        helper="value = 3\n",
        json="mine = 4\n",
    )
    plain, ours = both(run_python, "program.py")
    assert plain.stdout == "3 4\n"
    assert ours.stdout == plain.stdout, ours.stderr


def test_standard_input(run_python, files):
    files(program="import sys\nprint(input(), sys.stdin.read())\n")
    plain, ours = both(run_python, "program.py", input="a\nb\nc")
    assert plain.stdout == "a b\nc\n"
    assert_same(plain, ours)


# How it ends

ENDS = {
    "exception": "def f():\n    raise ValueError('x')\ndef g():\n    f()\ng()\n",
    "chained": "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise KeyError('key') from e\n",
    "context": "try:\n    [][1]\nexcept IndexError:\n    undefined\n",
    "group": "raise ExceptionGroup('several', [ValueError(1), TypeError(2)])\n",
    "notes": "e = OSError(2, 'x')\ne.add_note('a note')\nraise e\n",
    "syntax": "x = 1\nif x\n    pass\n",
    "indentation": "def f():\nx\n",
    "null": "x = '\0'\n",
    "coding": "# coding: no-such-coding\n",
    "not utf-8": b"x = '\xff'\n",
    "latin-1": b"# coding: latin-1\nprint(ascii('\xe4'))\nraise ValueError\n",
    "interrupt": "raise KeyboardInterrupt\n",
    "signalled": "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nimport time; time.sleep(10)\n",
    "exit": "raise SystemExit\n",
    "exit 0": "import sys; sys.exit(0)\n",
    "exit 3": "import sys; sys.exit(3)\n",
    "exit 257": "import sys; sys.exit(257)\n",
    "exit text": "import sys; sys.exit('so long')\n",
    "exit none": "import sys; sys.exit(None)\n",
    "exit tuple": "import sys; sys.exit((1, 2))\n",
    "quit": "quit()\n",
    "_exit": "import os; os._exit(7)\n",
    "killed": "import os; os.kill(os.getpid(), 9)\n",
    "atexit": "import atexit\natexit.register(print, 'at exit')\nraise ValueError\n",
    "excepthook": "import sys\nsys.excepthook = lambda *a: print('hook', *a[:2])\nraise ValueError(5)\n",
    "excepthook fails": "import sys\nsys.excepthook = lambda *a: 1 / 0\nraise ValueError(5)\n",
    "thread": "import threading\nt = threading.Thread(target=lambda: 1 / 0, name='T')\nt.start(); t.join()\n",
    "thread goes on": "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.2), print('late'))).start()\n",
    "warning": "import warnings\nwarnings.warn('careful')\n",
    "frames": "import sys\nf = sys._getframe()\nprint(f.f_code.co_name, f.f_code.co_filename)\n",
    "recursion": "def f():\n    f()\ntry:\n    f()\nexcept RecursionError as e:\n    print(e)\n",
    "last": "import sys, atexit\natexit.register(lambda: print(getattr(sys, 'last_value', None)))\nraise ValueError('last')\n",
    "del": "class A:\n    def __del__(self):\n        print('del', __name__)\na = A()\n",
}


# Python reads files in a way of its own, and words what it finds wrong with them so.
UNREADABLE = ("null", "coding", "not utf-8")
SMOKE = ("exception", "exit 3")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.smoke] if n in SMOKE else []) for n in ENDS]
)
@pytest.mark.parametrize("way", ["script", "module", "command", "folder"])
def test_ends_the_same(run_python, tmp_path, name, way):
    if way == "command" and name in (*UNREADABLE, "latin-1"):
        pytest.skip("a command is text")
    text = ENDS[name] if isinstance(ENDS[name], bytes) else ENDS[name].encode()
    (tmp_path / "program.py").write_bytes(text)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "__main__.py").write_bytes(text)
    arguments = {
        "script": ["program.py"],
        "module": ["-m", "program"],
        "command": ["-c", ENDS[name]],
        "folder": ["folder"],
    }[way]
    # Without faulthandler, which reports fatal signals.
    plain, ours = both(run_python, *arguments, env={"PYTHONFAULTHANDLER": None})
    expected, actual = (comparable(finished.stderr, way) for finished in (plain, ours))
    if name in UNREADABLE and way == "script":
        expected, actual = ("SyntaxError: " in text for text in (expected, actual))
    assert (ours.returncode, ours.stdout, actual) == (plain.returncode, plain.stdout, expected)


def comparable(text, way):
    """Standard error, without what cannot be the same."""
    if way in ("module", "folder"):  # Python's own way to a module is not ours.
        return without_frames(text, 'File "<frozen runpy>"')
    if way == "command":  # Since 3.13, Python shows the lines of its own -c, and of no other.
        return "".join(
            line
            for line in text.splitlines(True)
            if not line.startswith(("    ", "  |     ")) and "warn(" not in line
        )
    return text


def without_frames(text, mark):
    return "".join(line for line in text.splitlines(True) if mark not in line)


@pytest.mark.parametrize(
    "arguments",
    [
        ["missing.py"],
        ["missing/file.py"],
        ["empty"],
        ["-m", "missing_module"],
        ["-m", "package_without_main"],
        ["-m", "a.b.c"],
    ],
    ids=" ".join,
)
def test_what_is_not_there(run_python, tmp_path, arguments):
    (tmp_path / "empty").mkdir()
    (tmp_path / "package_without_main").mkdir()
    (tmp_path / "package_without_main" / "__init__.py").write_text("")
    plain, ours = both(run_python, *arguments)
    assert plain.returncode
    assert_same(plain, ours)


def test_interrupted_exits_by_the_signal(run_python, files):
    files(
        program="import time\nprint('up', flush=True)\nimport os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"
    )
    ours = run_python("-m", "procession", "program.py")
    assert ours.returncode == -signal.SIGINT
    assert ours.stderr.count("KeyboardInterrupt") == 1


@pytest.mark.smoke
def test_help_and_version(run_python):
    for flag in ("-h", "--help"):
        finished = run_python("-m", "procession", flag)
        assert finished.stdout.startswith("usage: python -m procession") and not finished.stderr
        finished.check()
    for flag in ("-V", "--version"):
        finished = run_python("-m", "procession", flag)
        assert finished.stdout == f"procession {procession.__version__}\n"
        finished.check()


@pytest.mark.parametrize("arguments", [[], ["-m"], ["-c"], ["--nonsense"]], ids=" ".join)
def test_wrong_usage(run_python, arguments):
    finished = run_python("-m", "procession", *arguments)
    assert "usage: python -m procession" in finished.stdout + finished.stderr
    finished.check(2)


# Standing in


WHERE = """\
import sys
def where():
    import multiprocessing, multiprocessing.queues, multiprocessing.connection
    import concurrent.futures
    return [
        type(multiprocessing.Queue()).__module__,
        type(multiprocessing.Lock()).__module__,
        multiprocessing.__name__,
        multiprocessing.queues.__name__,
        concurrent.futures.ProcessPoolExecutor.__module__,
        concurrent.futures.process.mp.__name__,
        sys.modules["multiprocessing"] is sys.modules["procession"],
    ]
OURS = ["procession.queues", "procession.synchronize", "procession", "procession.queues",
        "concurrent.futures.process", "procession", True]
def grandchild(q):
    q.put(where())
def child(q):
    import multiprocessing
    q.put(where())
    p = multiprocessing.Process(target=grandchild, args=(q,))
    p.start()
    p.join()
"""


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("how", ["-m procession", "install", "install after imports"])
def test_in_children_and_grandchildren(run_python, files, method, how):
    before = {
        "-m procession": "",
        "install": "import procession\nprocession.install()\n",
        "install after imports": "import multiprocessing.pool, concurrent.futures.process, procession\n"
        "concurrent.futures.ProcessPoolExecutor\nprocession.install()\n",
    }[how]
    files(
        program=before
        + WHERE
        + textwrap.dedent(
            """
            if __name__ == "__main__":
                import multiprocessing
                multiprocessing.set_start_method(sys.argv[1])
                assert where() == OURS, where()
                q = multiprocessing.Queue()
                p = multiprocessing.Process(target=child, args=(q,))
                p.start()
                for _ in range(2):
                    seen = q.get(timeout=50)
                    assert seen == OURS, seen
                p.join()
                assert p.exitcode == 0
            """
        )
    )
    runner = ["-m", "procession"] if how == "-m procession" else []
    run_python(*runner, "program.py", method).check()


@pytest.mark.parametrize("method", METHODS)
def test_without_install_the_standard_library_stays(run_python, files, method):
    files(
        program="""
        import sys, multiprocessing, procession
        def child(q):
            import multiprocessing
            q.put(multiprocessing.__name__)
            q.put(type(multiprocessing.get_context("fork").Queue()).__module__)
        if __name__ == "__main__":
            assert multiprocessing.__name__ == "multiprocessing"
            assert type(multiprocessing.Queue()).__module__ == "multiprocessing.queues"
            ctx = procession.get_context(sys.argv[1])
            q = ctx.Queue()
            p = ctx.Process(target=child, args=(q,))
            p.start()
            assert [q.get(timeout=50), q.get(timeout=50)] == ["multiprocessing", "multiprocessing.queues"]
            p.join()
        """
    )
    run_python("program.py", method).check()


@pytest.mark.parametrize("method", METHODS)
def test_process_pool_executor(run_python, files, method):
    files(
        program="""
        import sys, multiprocessing
        from concurrent.futures import ProcessPoolExecutor, as_completed
        from concurrent.futures.process import BrokenProcessPool
        def square(x):
            return x * x
        def fail(x):
            raise ValueError(x)
        def die():
            import os
            os._exit(3)
        if __name__ == "__main__":
            context = multiprocessing.get_context(sys.argv[1])
            with ProcessPoolExecutor(2, mp_context=context) as pool:
                assert list(pool.map(square, range(50), chunksize=3)) == [x * x for x in range(50)]
                assert sorted(f.result() for f in as_completed([pool.submit(square, x) for x in range(20)])) == [
                    x * x for x in range(20)]
                assert pool.submit(len, bytes(2_000_000)).result() == 2_000_000
                assert type(pool.submit(fail, 1).exception()) is ValueError
                assert pool.submit(lambda: 1).exception() is not None
                try:
                    pool.submit(die).result()
                except BrokenProcessPool:
                    pass
                else:
                    raise SystemExit("a dead worker was not noticed")
            print(type(pool._call_queue).__mro__[1].__module__)
        """
    )
    finished = run_python("-m", "procession", "program.py", method, timeout=90)
    finished.check()


def test_process_pool_executor_of_the_standard_library_stays(run_python):
    run_python(
        "-c",
        "import procession\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "with ProcessPoolExecutor(1, mp_context=procession.get_context('fork')) as pool:\n"
        "    assert pool.submit(abs, -1).result() == 1\n",
    ).check()


@pytest.mark.parametrize("method", METHODS)
def test_logging(run_python, files, method):
    files(
        program="""
        import logging, multiprocessing, sys
        def child():
            logging.basicConfig(format="%(processName)s %(message)s", stream=sys.stdout)
            logging.warning("from the child")
        if __name__ == "__main__":
            multiprocessing.set_start_method(sys.argv[1])
            logging.basicConfig(format="%(processName)s %(message)s", stream=sys.stdout)
            logging.warning("from the parent")
            sys.stdout.flush()
            p = multiprocessing.Process(target=child, name="Child")
            p.start()
            p.join()
        """
    )
    plain, ours = both(run_python, "program.py", method)
    assert plain.stdout == "MainProcess from the parent\nChild from the child\n"
    assert_same(plain, ours)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("way", ["script", "module", "folder", "zip"])
def test_functions_of_the_main_module_are_found_in_children(run_python, tmp_path, method, way):
    text = textwrap.dedent(
        """
        import sys, multiprocessing
        class Point:
            pass
        def child(q, p):
            p.seen = type(p).__module__
            q.put(p)
        if __name__ == "__main__":
            multiprocessing.set_start_method(sys.argv[1])
            q = multiprocessing.Queue()
            p = multiprocessing.Process(target=child, args=(q, Point()))
            p.start()
            p.join()
            if p.exitcode:
                sys.exit(1)
            point = q.get(timeout=50)
            print(type(point) is Point, point.seen)
        """
    )
    if way == "module":
        (tmp_path / "package").mkdir()
        (tmp_path / "package" / "program.py").write_text(text)
        arguments = ["-m", "package.program"]
    elif way == "zip":
        with zipfile.ZipFile(tmp_path / "program.zip", "w") as archive:
            archive.writestr("__main__.py", text)
        arguments = ["program.zip"]
    else:
        path = tmp_path / {"script": "program.py", "folder": "__main__.py"}[way]
        path.write_text(text)
        arguments = [path.name] if way == "script" else ["."]
    plain = run_python(*arguments, method, timeout=20) if way in ("script", "module") else None
    ours = run_python("-m", "procession", *arguments, method)
    if plain:
        assert_same(plain, ours)
    elif ours.returncode:
        pytest.skip("children cannot import this, without procession neither")


# Importing


@pytest.mark.smoke
def test_import_does_next_to_nothing(run_python):
    run_python(
        "-c",
        "import os, sys, threading\n"
        "import procession\n"
        "assert 'procession._engine' not in sys.modules\n"
        "assert 'multiprocessing' not in sys.modules, 'it has imported the other one'\n"
        "assert threading.active_count() == len(os.listdir('/proc/self/task')) == 1\n"
        "assert not open('/proc/self/task/%d/children' % os.getpid()).read()\n"
        "before = len(os.listdir('/proc/self/fd'))\n"
        "q = procession.Queue(); q.put([q]); q.get(); procession.Lock().acquire()\n"
        "assert threading.active_count() == len(os.listdir('/proc/self/task')) == 1\n"
        "assert not open('/proc/self/task/%d/children' % os.getpid()).read()\n",
    ).check()


def test_an_old_kernel(run_python):
    for release, fails in (
        ("4.19.0-generic", True),
        ("5.9.16", True),
        ("5.10.0-rc1", False),
        ("6.1.0+", False),
    ):
        finished = run_python(
            "-c",
            "import os\n"
            f"os.uname = lambda u=os.uname(): os.uname_result([*u[:2], {release!r}, *u[3:]])\n"
            "import procession\n"
            "procession.Queue()\n",
        )
        if fails:
            last = finished.stderr.splitlines()[-1]
            assert last == f"ImportError: procession needs Linux 5.10 or newer, and this is Linux {release}"
            assert finished.returncode == 1
        else:
            finished.check()


@pytest.mark.skipif(
    sys.version_info < (3, 12), reason="subinterpreters do not refuse extension modules before 3.12"
)
def test_subinterpreter(run_python):
    finished = run_python(
        "-c",
        textwrap.dedent(
            """
            try:
                import _interpreters as interpreters
            except ImportError:
                import _xxsubinterpreters as interpreters
            import procession._engine
            code = "try:\\n import procession._engine\\nexcept ImportError as error:\\n print('ImportError:', error)\\n"
            interpreter = interpreters.create()
            answer = (getattr(interpreters, "exec", None) or interpreters.run_string)(interpreter, code)
            assert answer is None, answer
            interpreters.destroy(interpreter)
            """
        ),
    )
    assert finished.stdout.startswith("ImportError: ") and "interpreter" in finished.stdout, finished.stderr
    finished.check()


@pytest.mark.smoke
def test_public_names():
    # Which submodules have been imported is another question.
    public = [
        name
        for name, value in vars(multiprocessing).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    ]
    assert not [name for name in public if not hasattr(procession, name)]
    assert set(multiprocessing.__all__) <= set(procession.__all__)
    for name in multiprocessing.__all__:
        assert callable(getattr(procession, name)) == callable(getattr(multiprocessing, name))
        assert getattr(procession, name).__doc__ or not getattr(multiprocessing, name).__doc__
    for name in ("context", "process", "reducer"):
        assert hasattr(procession, name), name


def modules():
    return [
        m.name.partition(".")[2] for m in pkgutil.walk_packages(multiprocessing.__path__, "multiprocessing.")
    ]


@pytest.mark.parametrize("name", modules())
def test_submodules(name):
    if name.endswith("win32"):
        assert importlib.util.find_spec(f"procession.{name}")
        return
    theirs, ours = (
        importlib.import_module(f"{package}.{name}") for package in ("multiprocessing", "procession")
    )
    assert ours.__name__ == f"procession.{name}" and ours is not theirs
    # What they import for themselves is not offered.
    public = [
        n
        for n, value in vars(theirs).items()
        if not n.startswith("_") and getattr(value, "__module__", None) == theirs.__name__
    ]
    assert not [n for n in public if not hasattr(ours, n)]
    for n in getattr(theirs, "__all__", ()):
        assert n in ours.__all__ and hasattr(ours, n), n


def test_signatures():
    import inspect

    def parameters(function):
        try:
            return list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):
            return None

    for name in multiprocessing.__all__:
        theirs, ours = parameters(getattr(multiprocessing, name)), parameters(getattr(procession, name))
        if theirs is not None and ours is not None:
            assert [p.name for p in ours[: len(theirs)]] == [p.name for p in theirs], name
            assert all(p.kind is p.KEYWORD_ONLY for p in ours[len(theirs) :]), name
    for name in ("put", "get", "put_nowait", "get_nowait", "qsize", "empty", "full", "close", "join_thread"):
        theirs, ours = (
            parameters(getattr(package.Queue(), name)) for package in (multiprocessing, procession)
        )
        assert [(p.name, p.default) for p in ours] == [(p.name, p.default) for p in theirs], name
    for kind in ("Lock", "RLock", "Semaphore", "BoundedSemaphore"):
        for name in ("acquire", "release"):
            thing = getattr(procession, kind)()
            expected = ["block", "timeout"] if name == "acquire" else []
            assert [p.name for p in parameters(getattr(thing, name))] == expected


def test_installed_submodules_are_one_under_both_names(run_python):
    run_python(
        "-m",
        "procession",
        "-c",
        "import multiprocessing.queues, procession.queues, multiprocessing.dummy.connection, procession.dummy.connection\n"
        "import multiprocessing.pool as pool, pickle\n"
        "assert multiprocessing is procession and multiprocessing.queues is procession.queues\n"
        "assert multiprocessing.dummy.connection is procession.dummy.connection\n"
        "assert pickle.loads(pickle.dumps(multiprocessing.TimeoutError)) is procession.TimeoutError\n"
        "from multiprocessing import *\n"
        "assert Queue and cpu_count() >= 1\n",
    ).check()

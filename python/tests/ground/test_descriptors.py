"""Programs that close descriptors that are not theirs, as daemons do, and open their own files in their
place.
"""

import pytest

PROGRAM = """
import tempfile
import procession as mp
LENGTH = 96 * MIB

def victim():
    '''A file with something in it, which gets every number up to 40 that is free.'''
    file = tempfile.TemporaryFile()
    pattern = os.urandom(MIB)
    for _ in range(LENGTH // MIB):
        file.write(pattern)
    file.flush()
    kept = os.dup2(file.fileno(), 50)
    file.close()
    for number in range(3, 40):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(kept, number)
    return kept, pattern

def unharmed(kept, pattern):
    check(os.fstat(kept).st_size == LENGTH, "it has another length")
    for number in range(3, 40):
        check(os.path.sameopenfile(number, kept), f"descriptor {number} is no longer the file's")
    for at in range(0, LENGTH, MIB):
        check(os.pread(kept, MIB, at) == pattern, f"what is in the file at {at // MIB} MiB is no longer there")
    # Nor has any code allocated memory for it, or freed any.
    check(os.fstat(kept).st_blocks * 512 >= LENGTH, "there are holes in it")

def use(q, lock):
    for size in (100, 20_000, MIB, 20 * MIB):
        for _ in range(3):
            q.put(b"y" * size)
        for _ in range(3):
            check(q.get(timeout=LATE) == b"y" * size)
        with lock:
            pass

def work(q, answers, lock):
    with lock:
        answers.put(q.get()[:5])

def start(method):
    '''Start a child that works, or get an error that says what is wrong; in time.'''
    ctx = mp.get_context(method)
    q, answers, lock = ctx.Queue(), ctx.Queue(), ctx.Lock()
    q.put(b"order" * 30_000)
    p = ctx.Process(target=work, args=(q, answers, lock))
    try:
        p.start()
    except (OSError, RuntimeError) as error:
        text = str(error)
        check("descriptor" in text or "shared memory" in text, f"this says nothing: {error!r}")
        return
    except BaseException as error:
        check(False, f"this says nothing: {error!r}")
    p.join(LATE)
    check(p.exitcode is not None, "start() was content, and the child does not end")
    check(p.exitcode == 0, f"start() was content, and the child ended with {p.exitcode}")
    check(answers.get(timeout=LATE) == b"order")
"""


def test_memory_is_not_taken_or_given_back_in_a_file_of_the_program(program):
    program(
        PROGRAM
        + """
ctx = mp.get_context("fork")
q, lock = ctx.Queue(), ctx.Lock()
use(q, lock)
os.closerange(3, 40)
kept, pattern = victim()
use(q, lock)
other = ctx.Queue()
for _ in range(50):
    other.put(b"z" * MIB)
del other
gc.collect()
use(q, lock)
p = ctx.Process(target=use, args=(q, lock))
p.start()
p.join(LATE)
check(p.exitcode == 0, p.exitcode)
unharmed(kept, pattern)
print("ok")
""",
        env={"PROCESSION_HEAP_BYTES": str(256 << 20)},
    )


@pytest.mark.parametrize("then", ["opened", "nothing"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_starting_a_process_after_all_descriptors_were_closed(program, method, then):
    """The start works, or an error says what happened. The files that have these descriptors now are left
    alone.
    """
    program(
        PROGRAM
        + """
if __name__ == "__main__":
    q, lock = mp.get_context("fork").Queue(), mp.get_context("fork").Lock()
    use(q, lock)
    os.closerange(3, 40)
    if sys.argv[2] == "opened":
        kept, pattern = victim()
    start(sys.argv[1])
    use(q, lock)
    if sys.argv[2] == "opened":
        unharmed(kept, pattern)
    well()
""",
        method,
        then,
    )


def test_a_child_that_closes_all_descriptors_works(program):
    program(
        PROGRAM
        + """
def child(q, lock):
    os.closerange(3, 40)
    kept, pattern = victim()
    use(q, lock)
    unharmed(kept, pattern)
    q.put("well")

ctx = mp.get_context("fork")
q, lock = ctx.Queue(), ctx.Lock()
use(q, lock)
p = ctx.Process(target=child, args=(q, lock))
p.start()
p.join(30)
check(p.exitcode == 0, p.exitcode)
check(q.get(timeout=LATE) == "well")
print("ok")
""",
        env={"PROCESSION_HEAP_BYTES": str(256 << 20)},
    )

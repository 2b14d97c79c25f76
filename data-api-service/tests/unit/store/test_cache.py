import threading

from data_api.store.cache import UNREAD_S_MAX, ByteCache


def test_the_budget_holds():
    """The least recently used go first; a value above the budget is served and not kept."""
    cache = ByteCache("test", 10, len)
    for key in "abc":
        cache.get(key, lambda: b"1234")
    assert (len(cache), cache.nbytes) == (2, 8)
    assert cache.get("big", lambda: b"x" * 11) == b"x" * 11
    assert (len(cache), cache.nbytes) == (2, 8)
    made = []
    cache.get("a", lambda: made.append("a") or b"1234")
    cache.get("c", lambda: made.append("c") or b"1234")
    assert made == ["a"]


def test_a_value_is_made_once():
    """Threads that ask for one key at once wait for the one that makes it."""
    cache, made = ByteCache("test", 100, len), []
    inside, go = threading.Event(), threading.Event()

    def make():
        inside.set()
        assert go.wait(600)
        made.append(1)
        return b"value"

    threads = [threading.Thread(target=cache.get, args=("key", make)) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert inside.wait(600)
    go.set()
    for thread in threads:
        thread.join(5)
    assert made == [1]


def test_what_nobody_reads_leaves():
    """What is read stays; what was not for UNREAD_S_MAX goes, with its bytes, when another comes; a
    value that is put again counts once.
    """
    now_s = 0.0
    cache = ByteCache("test", 100, len, lambda: now_s)
    for key in ("read", "unread"):
        cache.put(key, b"1234")
        cache.put(key, b"12345")
    now_s += UNREAD_S_MAX
    assert cache.find("read") == b"12345"
    now_s += 1
    cache.put("other", b"1")
    assert cache.find("unread") is None
    assert (len(cache), cache.nbytes) == (2, 6)

"""Two filters in the pipeline of the S3 server (loaded by Swift, in its own environment).

`lock` serialises conditional writes to one object. Swift checks If-None-Match before it writes,
so that of racing writers several can win; S3 promises exactly one. `cache` keeps in the proxy's
memory what Swift keeps in memcached, which quadruples the requests per second. Both need the
server's one proxy process.
"""

import json
import time
import weakref

from eventlet.semaphore import Semaphore


class Lock:
    """One conditional write at a time per object."""

    def __init__(self, app):
        self.app = app
        # A lock lives as long as a request holds it or waits for it.
        self.locks = weakref.WeakValueDictionary()

    def __call__(self, env, start_response):
        """WSGI: wait for one's turn, then pass the request on and read its answer."""
        if env["REQUEST_METHOD"] not in ("PUT", "POST") or "HTTP_IF_NONE_MATCH" not in env:
            return self.app(env, start_response)
        lock = self.locks.setdefault(env["PATH_INFO"], Semaphore(1))
        with lock:
            return [b"".join(self.app(env, start_response))]


class Memory:
    """What Swift asks of a memcached client, over a dict."""

    def __init__(self):
        self.values = {}

    def set(self, key, value, serialize=True, time=0, min_compress_len=0, raise_on_error=False):
        """Keep `value` for `time` seconds (0: for ever), as JSON as memcached would."""
        if isinstance(value, bytes):
            value = value.decode()
        self.values[key] = (json.dumps(value), _deadline(time))

    def get(self, key, raise_on_error=False):
        """The value of `key`, or None."""
        text, deadline = self.values.get(key, (None, 0))
        return json.loads(text) if text is not None and time.time() < deadline else None

    def incr(self, key, delta=1, time=0):
        """Add `delta`, never below 0."""
        value = max(0, int(self.get(key) or 0) + int(delta))
        self.set(key, value, time=time)
        return value

    def decr(self, key, delta=1, time=0):
        """Subtract `delta`, never below 0."""
        return self.incr(key, -delta, time)

    def delete(self, key, server_key=None):
        """Forget `key`."""
        self.values.pop(key, None)

    def set_multi(self, mapping, server_key, serialize=True, time=0, min_compress_len=0):
        """`set` each."""
        for key, value in mapping.items():
            self.set(key, value, time=time)

    def get_multi(self, keys, server_key):
        """`get` each."""
        return [self.get(key) for key in keys]


def _deadline(seconds):
    return time.time() + seconds if seconds > 0 else float("inf")


def lock_factory(global_conf, **local_conf):
    """Paste's entry point of `lock`."""
    return Lock


def cache_factory(global_conf, **local_conf):
    """Paste's entry point of `cache`."""
    memory = Memory()

    def wrap(app):
        def cached(env, start_response):
            env["swift.cache"] = memory
            return app(env, start_response)

        return cached

    return wrap

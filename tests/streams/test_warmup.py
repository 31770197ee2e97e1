"""What a worker needs compiled is compiled before it joins its group: later it would hold the loop for half a minute."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
from numba.core.dispatcher import Dispatcher
from inferwatch import CONTENT_TYPE_JSON
from streams.judge import Judge
from streams.owner import NS, Record
from streams.references import References
from streams.shard import Shard
from streams.warmup import warm_up
from tests.streams.events import KEY, START, events, record, reference, settings

def compiled():
    modules = [m for n, m in list(sys.modules.items()) if n.split('.')[0] in ('detectors', 'streams')]
    found = {f'{o.__module__}.{o.__name__}': o for m in modules for o in vars(m).values() if isinstance(o, Dispatcher)}
    return {(name, str(signature)) for name, function in found.items() for signature in function.overloads}

given = settings(window={'length_s': 60.0})
warm_up(given)
before, references = compiled(), References(KEY)
references.put(reference())
shard, judge = Shard(0, given, references), Judge(0, given, references)
text = b'[{"model":"m","version":"1","client":"x","features":{"age":1,"income":null,"score":0.5},"scores":{"no":0.5,"yes":0.5}}]'
for k in range(40):
    batch = events(100, seed=k, start_s=10.0 * k, clients=20, number=100 * k)
    shard.apply(record(batch, 2 * k))
    shard.apply(Record('events', 0, 2 * k + 1, text, int(batch.at_ns.max()), headers={'content-type': CONTENT_TYPE_JSON}))
    label = b'{"model":"m","event_id":"shop-1:%d","truth":"yes"}' % (100 * k)
    judge.apply(Record('labels', 0, k, label, int(batch.at_ns.max())))
    for out in shard.outbox:
        if out.to in ('windows', 'findings'):
            judge.apply(Record(out.to, 0, judge.next[out.to], out.value, int(batch.at_ns.max()), headers=out.headers))
    shard.outbox.ack([out.id for out in shard.outbox])
    judge.tick(int(batch.at_ns.max()))
again = Shard(0, given, references)
again.restore(shard.snapshot())
again.finish()
judge.tick(START + 10**5 * NS)
assert judge.counters()['suspects'] > 0 and judge.counters()['windows'] > 0, judge.counters()
print(sorted(name for name, _ in compiled() - before))
"""


def test_a_warm_worker_compiles_nothing_in_the_middle_of_the_work() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=300, check=False)
    assert done.stderr == ""
    assert done.stdout.strip() == "[]"

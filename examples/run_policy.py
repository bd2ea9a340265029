"""Act with what `lomaq export` wrote, by numpy and onnxruntime alone: python examples/run_policy.py FOLDER."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

folder, random = Path(sys.argv[1]), np.random.default_rng(0)
contract = json.loads((folder / "contract.json").read_text())
policies = contract["policies"]  # one for each agent type
sessions = [onnxruntime.InferenceSession(str(folder / policy["file"])) for policy in policies]
feeds = []
for policy in policies:  # an episode begins; every action is allowed
    rows = len(policy["agents"])
    feed = {x["name"]: np.full([rows, *x["shape"][1:]], x.get("at_start", 1), x["dtype"]) for x in policy["inputs"]}
    feeds.append(feed | ({"agent": np.array(policy["agents"])} if "agent" in feed else {}))
for step in range(5):
    actions = np.zeros(contract["n_agents"], dtype=np.int64)
    for policy, session, feed in zip(policies, sessions, feeds, strict=True):
        feed["observation"] = random.standard_normal(feed["observation"].shape, dtype=np.float32)  # your environment
        outputs = dict(zip((x["name"] for x in policy["outputs"]), session.run(None, feed), strict=True))
        actions[policy["agents"]] = outputs["action"]
        feed |= {x["name"]: outputs[x["then"]] for x in policy["inputs"] if "then" in x}  # memory, previous action
    print(step, actions.tolist())

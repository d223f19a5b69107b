"""Runs ceph commands about the OSDs of one Node, in a container with the command ceph.

The argument is what to do:
  evacuate  marks the OSDs out, and waits until their data is complete elsewhere
  remove    waits until the OSDs are down and still safe to destroy, and purges them
  restore   marks the OSDs in

OSDS lists the OSDs as id=uuid. An OSD whose uuid differs is another one with a reused id, and is not touched.
HOST is the name of the Node in the CRUSH map.
"""

import json
import os
import subprocess
import sys
import time

PERIOD = float(os.environ.get("PERIOD", "10"))  # Seconds between two questions.


def ceph(*arguments):
    """Returns the exit code, the output and the error of a command."""
    command = ["ceph", "-c", "/dev/null", "--connect-timeout", "60", "-m", os.environ["CEPH_MON_HOST"],
               "--id", os.environ["CEPH_USER"], "--keyfile", os.environ["CEPH_KEY_FILE"], *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    # The line about the absent config file and debug lines of the client are not errors.
    error = " ".join(line for line in done.stderr.splitlines() if "did not load config file" not in line and " -1 " not in line)
    return done.returncode, done.stdout, error


def must(*arguments):
    """Returns the output of a command, or ends with its error."""
    code, output, error = ceph(*arguments)
    if code != 0:
        sys.exit("ceph %s: exit code %d: %s" % (" ".join(arguments), code, error))
    return output


def present():
    """Returns the OSDs of the Node that Ceph knows, by id."""
    known = {osd["osd"]: osd for osd in json.loads(must("osd", "dump", "-f", "json"))["osds"]}
    found = {}
    for item in os.environ["OSDS"].split(","):
        number, uuid = item.split("=")
        osd = known.get(int(number))
        if osd is None:
            print("osd.%s does not exist any more" % number, flush=True)
        elif osd["uuid"] != uuid:
            print("osd.%s has another uuid: its id was reused" % number, flush=True)
        else:
            found[int(number)] = osd
    return found


def safe(number):
    """Returns whether Ceph says that an OSD is safe to destroy, and why not.

    The exit code does not say it, and Ceph reports an id that it does not know as safe: ask only about a present OSD.
    """
    code, output, error = ceph("osd", "safe-to-destroy", str(number), "-f", "json")
    if code != 0:
        return False, error
    try:
        answer = json.loads(output)
    except ValueError:
        return False, "the answer of safe-to-destroy is not JSON"
    if number in answer.get("safe_to_destroy", []):
        return True, ""
    if number in answer.get("active", []):
        return False, "placement groups are mapped to it"
    if number in answer.get("missing_stats", []):
        return False, "its statistics are missing"
    return False, "it holds placement groups whose other copies are not complete"


def incomplete():
    """Returns which placement groups lack a copy, or "".

    Ceph reports an OSD as safe to destroy when nothing is mapped to it, also while placement groups have too few copies,
    because no other host can hold them. The question goes to the manager, which also answers safe-to-destroy; ceph status
    may be seconds older.
    """
    summary = json.loads(must("pg", "stat", "-f", "json"))
    summary = summary.get("pg_summary", summary)
    states = {one["name"]: one["num"] for one in summary["num_pg_by_state"]}
    bad = ["%d %s" % (count, name) for name, count in sorted(states.items())
           if not {"active", "clean"} <= set(name.split("+")) or "inconsistent" in name]
    if sum(states.values()) != summary["num_pgs"]:
        bad.append("some unknown")
    return ", ".join(bad)


def reasons(osds):
    """Returns why OSDs cannot be destroyed, by id. An empty answer means that the data of all is complete elsewhere."""
    found = {}
    for number in osds:
        is_safe, reason = safe(number)
        if not is_safe:
            found[number] = reason
    bad = incomplete()
    if bad:
        for number in osds:
            found.setdefault(number, "placement groups are not complete: " + bad)
    return found


def describe(found):
    return "; ".join("osd.%d is not safe to destroy: %s" % (number, reason) for number, reason in sorted(found.items()))


def evacuate():
    confirmed = 0
    while confirmed < 2:  # The second answer is from later statistics.
        osds = present()
        if osds:
            must("osd", "out", *[str(number) for number in osds])
        found = reasons(osds)
        confirmed = 0 if found else confirmed + 1
        if found:
            print("%d of %d OSDs: %s" % (len(found), len(osds), describe(found)), flush=True)
        time.sleep(PERIOD)
    print("the data of the OSDs is complete elsewhere", flush=True)


def remove():
    while True:
        osds = present()
        if not osds:
            break
        must("osd", "out", *[str(number) for number in osds])  # Another client may have marked them in.
        up = [number for number, osd in osds.items() if osd["up"]]
        found = reasons(osds)
        ready = [number for number in osds if number not in up and number not in found]
        if ready:
            must("osd", "purge", str(ready[0]), "--yes-i-really-mean-it")
            continue  # Each purge changes the map.
        texts = ["osd.%d is up" % number for number in up]
        print("; ".join(texts + [describe(found)] if found else texts), flush=True)
        time.sleep(PERIOD)
    host = os.environ["HOST"]
    code, _, error = ceph("osd", "crush", "rm", host)
    if code == 0:
        print("the OSDs and host %s are not in the CRUSH map any more" % host, flush=True)
    elif code == 39:  # ENOTEMPTY.
        print("host %s stays in the CRUSH map: it has other OSDs" % host, flush=True)
    else:
        sys.exit("ceph osd crush rm %s: exit code %d: %s" % (host, code, error))


def restore():
    osds = [str(number) for number, osd in present().items() if not osd["in"]]
    if osds:
        must("osd", "in", *osds)
    print("%d OSDs were marked in" % len(osds), flush=True)


{"evacuate": evacuate, "remove": remove, "restore": restore}[sys.argv[1]]()

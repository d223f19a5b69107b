#!/bin/sh
# A cleanup step as a shell script: removes the records of a Node from an inventory, one per call.
# wrapper.py calls it again until it exits with 0.
set -eu

case $NODE_UID in */*) echo "not a UID: $NODE_UID" >&2; exit 1 ;; esac
records="$INVENTORY/$NODE_UID" # A folder stands for the inventory. Repeated calls find what is left.
if [ ! -d "$records" ]; then
	mkdir "$records.new"
	touch "$records.new/dns" "$records.new/monitoring"
	mv "$records.new" "$records"
fi
for record in "$records"/*; do
	[ -e "$record" ] || continue
	rm "$record"
	echo "removing the records of $NODE_NAME" >&2
	exit 75
done
echo "records=removed"

# Given to `sh -c`, with the tag of a pool and the folder of its scratch folders: waits until its host is dead, then ends
# what is left of its workers, and removes what they left.
exec >/dev/null 2>&1 # Nobody reads what it says.
trap '' HUP INT TERM
read -r _
for _ in 1 2 3 4 5 6 7 8 9 10; do
    for found in $(grep -lsF "OSTLER_TAG=$1." /proc/[0-9]*/environ); do
        pid=${found#/proc/}
        pid=${pid%/environ}
        kill -s KILL -- "-$pid" "$pid"
    done
    rm -rf -- "$2/ostler-$1".*
    sleep 0.1 # Some may have been forking, or changing programs.
done
set -- "$2/ostler-$1".*
[ ! -e "$1" ] || { chmod -R u+rwx "$@"; rm -rf -- "$@"; } # Code may have closed a folder in it.

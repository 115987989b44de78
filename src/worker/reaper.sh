# Given to `sh -c`, with the tag of a pool, the folder of its scratch folders, the id of its host and this text: waits until
# its host is dead, then ends what is left of its workers, and removes what they left.
exec >/dev/null 2>&1 # Nobody reads what it says.
host=$3
# The end of a pipe tells of the host's death, unless a copy that the host forked holds the other end. Then the kernel does,
# by a signal that means nothing to others.
if [ "$4" ] && setpriv --pdeathsig URG true; then
    exec setpriv --pdeathsig URG /bin/sh -c "$4" ostler-reaper "$1" "$2" "$host"
fi
trap '' HUP INT TERM
trap 'rung=1' URG

# Whether the host is no longer its parent. It is not told so by a /proc of another namespace.
is_orphan() {
    while read -r key value; do
        case $key in
        Pid:) [ "$value" = $$ ] || return ;;
        PPid:) [ "$value" != "$host" ] && return ;;
        esac
    done <"/proc/$$/status"
    return 1
}

[ "$PPID" = "$host" ] || gone=1
until [ "$gone" ] || is_orphan; do
    rung=
    read -r _ || [ "$rung" ] || gone=1
    # Anybody may send the signal, and the kernel does so for one thread of the host after the other.
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        [ "$gone" ] || is_orphan && break
        sleep 0.1
    done
done

# One whose memory nobody can see must not hold up the others.
limit='timeout -s KILL 0.5'
$limit true || limit=
xdev=--one-file-system
rm $xdev -f || xdev=
end() {
    kill -s KILL -- "-$1" "$1"
}
for _ in 1 2 3 4 5 6 7 8 9 10; do
    found=$($limit grep -lsF "OSTLER_TAG=$1." /proc/[0-9]*/environ)
    if [ $? -gt 2 ]; then
        found=
        for one in /proc/[0-9]*; do
            [ -O "$one" ] || continue
            (grep -qsF "OSTLER_TAG=$1." "$one/environ" && end "${one#/proc/}") &
        done
    fi
    for one in $found; do
        one=${one#/proc/}
        end "${one%/environ}"
    done
    rm $xdev -rf -- "$2/ostler-$1".*
    sleep 0.1 # Some may have been forking, or changing programs.
done
set -- "$2/ostler-$1".*
# Code may have closed a folder in it. Only folders are opened: a file may have other names elsewhere, and a link leads there.
[ ! -e "$1" ] || {
    find -P "$@" -xdev -type d ! -perm -700 -exec chmod u+rwx {} \;
    rm $xdev -rf -- "$@"
}

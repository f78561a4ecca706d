#!/bin/sh
# Finds the root file system, lets OSTree prepare the deployment, hands over to its init.
# Everything that goes wrong ends in a reboot: the boot loader has counted the try and goes back.
set -u
export PATH=/usr/bin:/usr/sbin

# Seconds.
PAUSE=0.2       # between two looks at the devices
PATIENCE=90     # for the disk to appear
SETTLED=10      # for a second disk with the same identity to appear
DEADLINE=180    # for all of it

say() {
    echo "<2>edge-init: $*" >/dev/kmsg || echo "edge-init: $*"
}

reset() {
    echo s >/proc/sysrq-trigger
    sleep 1
    echo b >/proc/sysrq-trigger
}

fail() {
    say "$*; rebooting in 5 s"
    sleep 5
    reset
    sleep 60
}

# Resets the machine unless it is stopped in time. The sleep must not outlive it.
watch() {
    sleep "$DEADLINE" &
    sleeper=$!
    trap 'kill "$sleeper"; exit' TERM
    wait "$sleeper"
    say "no root file system after $DEADLINE s"
    reset
}

uptime() {
    read -r seconds rest </proc/uptime
    echo "${seconds%.*}"
}

# Loads the driver of every device that has one. Does nothing when no device was added.
coldplug() {
    aliases=
    for file in /sys/bus/*/devices/*/modalias; do
        alias=
        read -r alias <"$file"
        aliases="$aliases $alias"
    done 2>/dev/null
    [ "$aliases" != "$plugged" ] || return 0
    plugged=$aliases
    set -f
    # Most devices have no driver here: that is no error.
    modprobe -a -q $aliases 2>/dev/null
    set +f
}

# Sets name, label and uuid from a block device's uevent file.
identify() {
    name= label= uuid= type=
    while IFS== read -r key value; do
        case $key in
            DEVNAME) name=$value ;;
            DEVTYPE) type=$value ;;
            PARTNAME) label=$value ;;
            PARTUUID) uuid=$value ;;
        esac
    done <"$1"
    # Not every kernel says it: trixie's 6.12 does not.
    if [ "$type" = partition ] && [ -z "$uuid" ]; then
        uuid=$(blkid -p -s PART_ENTRY_UUID -o value "/dev/$name")
    fi
}

# Prints the names of the partitions that have this PARTUUID.
partitions() {
    for uevent in /sys/class/block/*/uevent; do
        identify "$uevent"
        [ "$uuid" != "$1" ] || echo "$name"
    done
}

# Prints the boot counter on the disk of this partition: in the file `boots` of edge-trial, whose
# place is fixed (docs/formats.md).
counter() {
    for uevent in /sys/class/block/"$1"/../*/uevent; do
        identify "$uevent"
        [ "$label" = edge-trial ] || continue
        dd if="/dev/$name" bs=512 skip=23 count=2 2>/dev/null | while IFS== read -r key value; do
            [ "$key" != seq ] || echo "$value"
        done
    done
}

# Sets device if it is certain which partition is meant, else doubt.
choose() {
    set -- $(partitions "$partuuid")
    if [ $# -eq 0 ]; then
        doubt="no partition has the PARTUUID $partuuid"
        return 1
    fi
    if [ -z "$seq" ] && [ $# -eq 1 ]; then
        device=/dev/$1
        return
    fi
    same= found=$# first=$1
    for candidate; do
        [ "$(counter "$candidate")" != "$seq" ] || same="$same $candidate"
    done
    set -- $same
    if [ $# -eq 1 ]; then
        device=/dev/$1
        return
    fi
    # A loader that could not write its counter must not keep the only disk from booting.
    if [ "$found" -eq 1 ] && [ "$waited" -ge "$SETTLED" ]; then
        say "the boot counter of $first is not $seq; it is the only disk"
        device=/dev/$first
        return
    fi
    doubt="$found partitions have the PARTUUID $partuuid, $# of them the boot counter '$seq'"
    return 1
}

find_root() {
    case $root in
        PARTUUID=*) partuuid=${root#PARTUUID=} ;;
        *) fail "root=$root is not a PARTUUID" ;;
    esac
    waited=0 plugged= device= doubt=
    begin=$(uptime)
    while [ "$waited" -lt "$PATIENCE" ]; do
        coldplug
        choose && return
        sleep "$PAUSE"
        waited=$(($(uptime) - begin))
    done
    fail "$doubt"
}

# An unattended machine has nobody to ask, and the content is checked by its checksums: what a
# careful check leaves is repaired.
check_root() {
    e2fsck -p "$device"
    status=$?
    if [ "$status" -eq 4 ]; then
        say "repairing $device"
        e2fsck -y "$device"
        status=$?
    fi
    [ "$status" -le 1 ] || fail "e2fsck of $device ended with $status"
}

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs -o mode=0755,nosuid,nodev run /run
echo 5 >/proc/sys/kernel/panic

root= seq=
read -r cmdline </proc/cmdline
set -f
for word in $cmdline; do
    case $word in
        root=*) root=${word#root=} ;;
        edge_ota.seq=*) seq=${word#edge_ota.seq=} ;;
    esac
done
set +f

watch &
watcher=$!
while read -r module; do
    modprobe -q "$module" || say "cannot load $module"
done </etc/edge-modules

find_root
check_root
mount -t ext4 -o rw,noatime "$device" /sysroot || fail "cannot mount $device"
/usr/lib/ostree/ostree-prepare-root /sysroot || fail "ostree-prepare-root found no deployment"
[ -x /sysroot/sbin/init ] || fail "the deployment has no /sbin/init"

kill "$watcher"
wait "$watcher"
exec switch_root /sysroot /sbin/init "$@"

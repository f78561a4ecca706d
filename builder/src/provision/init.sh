#!/bin/sh
# The installer's init: devices, network, then edge-ota does what the kernel's arguments say. Nobody may be watching:
# whatever goes wrong is told, and time is given to what time heals.
set -u
export PATH=/usr/bin:/usr/sbin:/run/busybox HOME=/ TERM=linux

# Seconds.
PAUSE=1         # between two looks at the devices
PATIENCE=60     # for a network, where one is needed

say() {
    echo "edge-installer: $*"
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

# Sets client, gateway, netmask, host, card, how from an ip= of the kernel's arguments, as dracut has it:
# ip=dhcp, ip=<card>:dhcp, ip=<client>:[<peer>]:<gateway>:<netmask>:<host>:<card>:none
read_ip() {
    client= gateway= netmask= host= card= how=dhcp
    [ -n "$1" ] || return 0
    rest=$1
    set -f
    IFS=:
    set -- $rest
    unset IFS
    set +f
    case $# in
        1) how=$1 ;;
        2) card=$1 how=$2 ;;
        *)
            client=$1 gateway=${3:-} netmask=${4:-} host=${5:-} card=${6:-} how=${7:-none}
            [ -z "$client" ] || how=static
            ;;
    esac
}

# Whether this card is the one that is meant.
is_meant() {
    [ -z "$card" ] || [ "$card" = "$1" ] || return 1
    [ -n "$bootif" ] || return 0
    read -r address <"/sys/class/net/$1/address"
    [ "$address" = "$bootif" ]
}

# Brings up the cards that have a link and were not brought up before.
network() {
    for path in /sys/class/net/*; do
        name=${path##*/}
        [ -e "$path/device" ] || continue
        is_meant "$name" || continue
        case " $up " in *" $name "*) continue ;; esac
        ip link set "$name" up 2>/dev/null || continue
        carrier=0
        read -r carrier <"$path/carrier" 2>/dev/null
        [ "$carrier" = 1 ] || continue
        up="$up $name"
        case $how in
            static)
                interface=$name ip=$client mask=$netmask router=$gateway dns=$nameservers hostname=$host \
                    /etc/udhcpc.script bound
                ;;
            none | off) ;;
            *)
                say "asking for an address on $name"
                udhcpc -i "$name" -s /etc/udhcpc.script -t 5 -T 3 -A 10 -b -S >/dev/null 2>&1 &
                ;;
        esac
    done
}

# Devices come when they like: a stick, a card behind a slow bus.
tend() {
    plugged= up=
    while :; do
        coldplug
        network
        sleep "$PAUSE"
    done
}

wait_for_network() {
    waited=0
    while [ ! -e /run/edge-ota/network ]; do
        if [ "$waited" -ge "$PATIENCE" ]; then
            say "no network after $PATIENCE s, going on"
            return
        fi
        sleep "$PAUSE"
        waited=$((waited + PAUSE))
    done
}

# Ends the machine's work here; it does not return.
finish() {
    say "$1"
    sync
    case $1 in
        reboot) reboot -f ;;
        poweroff) poweroff -f ;;
        halt) halt -f ;;
    esac
    sleep 60
}

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs -o mode=0755,nosuid,nodev run /run
busybox mkdir -p /run/busybox /run/edge-ota /tmp
busybox --install -s /run/busybox
hostname edge-installer
ip link set lo up

bootif= ip= nameservers= online=
read -r cmdline </proc/cmdline
set -f
for word in $cmdline; do
    case $word in
        ip=*) ip=${word#ip=} ;;
        nameserver=*) nameservers="$nameservers ${word#nameserver=}" ;;
        # As PXELINUX and iPXE write it: 01-52-54-00-12-34-56
        BOOTIF=*) bootif=$(echo "${word#BOOTIF=??-}" | tr A-F- a-f:) ;;
        inst.ks=http* | edge.url=* | edge.bundle=http* | edge.report=*) online=yes ;;
    esac
done
set +f
read_ip "$ip"

# Behind the last release's time every certificate is still to come.
read -r built </etc/edge-built
[ "$(date +%s)" -ge "$built" ] || date -s "@$built" >/dev/null

while read -r module; do
    modprobe -q "$module" || say "cannot load $module"
done </etc/edge-modules
tend &
[ -z "$online" ] || wait_for_network

while :; do
    next=shell
    edge-ota agent installer >/run/edge-ota/next && read -r next </run/edge-ota/next
    case $next in
        shell)
            say "this is a shell; its end begins the installation again"
            setsid cttyhack sh -i
            # Nobody is there where it ends by itself.
            sleep "$PATIENCE"
            ;;
        *) finish "$next" ;;
    esac
done

#!/bin/sh
# What busybox's udhcpc calls with $1 and the lease in the environment; init.sh calls it with an address from the
# kernel's arguments.
export PATH=/usr/bin:/usr/sbin:/run/busybox

case $1 in
    deconfig)
        ip addr flush dev "$interface"
        ip link set "$interface" up
        ;;
    bound | renew)
        ip addr flush dev "$interface"
        ip addr add "$ip/${mask:-24}" dev "$interface"
        [ -z "${mtu:-}" ] || ip link set "$interface" mtu "$mtu"
        for gateway in ${router:-}; do
            # One that is not on the link is reached all the same, as clouds have it.
            ip route replace default via "$gateway" dev "$interface" ||
                ip route replace default via "$gateway" dev "$interface" onlink
            break
        done
        if [ -n "${dns:-}" ]; then
            for server in $dns; do
                echo "nameserver $server"
            done >/run/edge-ota/resolv.new
            mv /run/edge-ota/resolv.new /etc/resolv.conf
        fi
        [ -z "${hostname:-}" ] || echo "$hostname" >/run/edge-ota/dhcp-hostname
        echo "edge-installer: $interface has the address $ip"
        echo "$interface" >/run/edge-ota/network
        ;;
esac

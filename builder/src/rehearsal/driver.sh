# In the machine of a rehearsal: says on a port where this boot ended up, and does what comes back.
# Lines from here: 'failed <unit>', 'log <text>', 'status <json>' once a boot; 'cut'; 'done <exit code> <last words>'.
# Lines to here: 'upgrade', 'cut', 'rollback', 'reboot'.

said=/run/edge-rehearsal.said
code=/run/edge-rehearsal.code
pid=/run/edge-rehearsal.pid
state=/var/lib/edge-ota/state.json

exec 3<>/dev/virtio-ports/edge-rehearsal || exit 1

say() { printf '%s\n' "$*" >&3; }

say_status() {
    systemctl list-units --failed --plain --no-legend --no-pager | while read -r unit _; do
        say "failed $unit"
        journalctl --boot --unit "$unit" --lines 5 --output cat --no-pager | while read -r line; do
            say "log $line"
        done
    done
    say "status $(edge-ota status --json | tr -d '\n')"
}

# Runs edge-ota; its exit code and its last words are the answer.
answer() {
    edge-ota "$@" >$said 2>&1
    say "done $? $(tail -n 1 $said)"
}

deployments() {
    set -- /ostree/deploy/edge/deploy/*/
    echo $#
}

# The slot is being written: it counts as staged, has no deployment yet, and the deployment is in the making.
is_being_written() {
    grep -q '"deployment": *""' $state && [ "$(deployments)" != "$1" ]
}

# Freezes an upgrade in the middle, so that it does not run on while the host reacts.
cut() {
    rm -f $code $pid
    before=$(deployments)
    {
        sh -c "echo \$\$ >$pid; exec edge-ota upgrade --retry" >$said 2>&1
        echo $? >$code
    } &
    until [ -e $code ]; do
        if is_being_written "$before"; then
            kill -STOP "$(cat $pid)"
            say cut
            return
        fi
    done
    say "done $(cat $code) $(tail -n 1 $said)"
}

say_status
while read -r word <&3; do
    case $word in
    upgrade) answer upgrade --retry ;;
    cut) cut ;;
    rollback) answer rollback ;;
    reboot) systemctl reboot ;;
    esac
done

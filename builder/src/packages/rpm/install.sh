# Installs RPMs into the empty folder $1 and prints it as a tar. Runs in mount, network and process namespaces of its
# own: scripts of packages see the new root alone, reach no network and leave nothing running. $2 is a folder of ours
# with `rpms`, a list of files; the others are options of rpm. Where the firmware's files go comes before the end.
root=$1
ours=$2
shift 2
database=usr/share/rpm

mount -t tmpfs -o mode=755,size=90% tree "$root"
mkdir -p "$root/proc" "$root/dev" "$root/$database"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 dev "$root/dev"
for node in null zero full random urandom; do
    touch "$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
done

query() { rpm --root "$root" --dbpath "/$database" "$@"; }
xargs -d '\n' rpm --root "$root" --dbpath "/$database" --ignorearch --nosignature "$@" -Uh --percent < "$ours/rpms" >&2

umount -R "$root/dev" "$root/proc"
for modules in "$root"/usr/lib/modules/*/; do
    [ -e "$modules/modules.dep" ] || depmod -b "$root" "$(basename "$modules")"
done
query -qa --qf '%{name}\t%|epoch?{%{epoch}:}:{}|%{version}-%{release}\t%{arch}\n' > "$ours/packages"
# One file, and the same for the same packages.
sqlite3 "$root/$database/rpmdb.sqlite" 'PRAGMA journal_mode=delete; VACUUM;' > /dev/null
rm -f "$root/$database/.rpm.lock" "$root/$database"/rpmdb.sqlite-*
if [ ! -L "$root/usr/lib/sysimage/rpm" ]; then
    mkdir -p "$root/usr/lib/sysimage"
    [ ! -d "$root/usr/lib/sysimage/rpm" ] || rmdir "$root/usr/lib/sysimage/rpm"
    ln -s ../../share/rpm "$root/usr/lib/sysimage/rpm"
fi

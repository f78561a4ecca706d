# edge-ota: chooses the slot to boot, as grub.cfg does. State: docs/formats.md. Every doubt ends in the
# default slot; there is no prompt. What stands between at signs is filled in when an image is made.
#
# For U-Boot 2023.01 or later with as little as am335x_evm has: no setexpr, at most 16 words a command. A function
# is a variable that is run, without a single quote in it. It takes edge_slot, edge_file, edge_sector, edge_how.

# The partitions of the disk this script was loaded from, and of no other.
setenv edge_number; part number ${devtype} ${devnum} edge-boot edge_number
setenv edge_boot ${devnum}:${edge_number}
setenv edge_number; part number ${devtype} ${devnum} edge-root edge_number
setenv edge_root; part uuid ${devtype} ${devnum}:${edge_number} edge_root

# Without arithmetic the records' sectors are known from the image. Elsewhere than there nothing is written.
setenv edge_medium false
setenv edge_first_sector; part start ${devtype} ${devnum} edge-trial edge_first_sector
if test "${edge_first_sector}" = "@EDGE_TRIAL_START@"; then
  if ${devtype} dev ${devnum}; then setenv edge_medium ${devtype}; fi
fi
if test "${edge_medium}" = "false"; then echo "edge-ota: edge-trial is not where it was made"; fi

# Makes edge_slot the other slot.
setenv edge_other '
  if test "${edge_slot}" = "a"; then setenv edge_slot b; else setenv edge_slot a; fi
'

# Whether edge_slot has a slot file and its files; sets commit, deployment, options, fdt.
setenv edge_complete '
  setenv format; setenv slot; setenv commit; setenv deployment; setenv options; setenv fdt
  if load ${devtype} ${edge_boot} ${kernel_addr_r} slot-${edge_slot}; then
    env import -t ${kernel_addr_r} ${filesize} format slot commit deployment options fdt
  fi
  setenv edge_whole no
  if test "${format}" = "1" -a "${slot}" = "${edge_slot}" -a -n "${commit}" -a -n "${deployment}"; then
    if test -e ${devtype} ${edge_boot} slots/${deployment}/vmlinuz; then
      if test -e ${devtype} ${edge_boot} slots/${deployment}/initramfs.img; then
        if test -z "${fdt}"; then setenv edge_whole yes
        elif test -e ${devtype} ${edge_boot} slots/${deployment}/${fdt}; then setenv edge_whole yes; fi
      fi
    fi
  fi
  test "${edge_whole}" = "yes"
'

# Loads the tree that the slot file names, or takes the one that the firmware passed; sets edge_tree.
setenv edge_load_tree '
  if test -n "${fdt_addr_r}"; then setenv edge_tree ${fdt_addr_r}; else setenv edge_tree ${fdt_addr}; fi
  if test -n "${fdt}"; then
    if load ${devtype} ${edge_boot} ${edge_tree} slots/${deployment}/${fdt}; then fdt addr ${edge_tree}; else false; fi
  elif test -n "${fdt_addr}" && fdt addr ${fdt_addr}; then setenv edge_tree ${fdt_addr}
  else setenv edge_tree ${fdtcontroladdr}; fi
'

# Boots edge_slot; returns only if it cannot be loaded. A board has bootz or booti, the other is unknown to it.
# The quotes matter: a command takes few arguments.
setenv edge_start '
  if run edge_complete; then
    echo "edge-ota: slot ${edge_slot}, ${deployment} ${edge_how}"
    setenv bootargs "root=PARTUUID=${edge_root} ostree=/ostree/slot-${edge_slot} edge_ota.slot=${edge_slot} edge_ota.seq=${seq} ${edge_how} ${options}"
    if load ${devtype} ${edge_boot} ${kernel_addr_r} slots/${deployment}/vmlinuz; then
      if load ${devtype} ${edge_boot} ${ramdisk_addr_r} slots/${deployment}/initramfs.img; then
        setenv edge_initrd ${ramdisk_addr_r}:${filesize}
        if run edge_load_tree; then
          bootz ${kernel_addr_r} ${edge_initrd} ${edge_tree}
          booti ${kernel_addr_r} ${edge_initrd} ${edge_tree}
        fi
      fi
    fi
  fi
  echo "edge-ota: slot ${edge_slot} cannot be loaded"
'

# Reads the record in edge_sector; sets t_slot, t_commit, t_left, empty unless the record checks out.
setenv edge_read_trial '
  setenv trial_slot; setenv trial_commit; setenv trial_left; setenv trial_check
  setenv t_slot; setenv t_commit; setenv t_left
  mw.b ${kernel_addr_r} 0 0x200
  if ${edge_medium} read ${kernel_addr_r} ${edge_sector} 1; then
    env import -t ${kernel_addr_r} 0x200 trial_slot trial_commit trial_left trial_check
  fi
  if test -n "${trial_commit}" -a "${trial_check}" = "${trial_slot}/${trial_commit}/${trial_left}"; then
    if test "${trial_slot}" = "a" -o "${trial_slot}" = "b"; then
      setenv t_slot ${trial_slot}; setenv t_commit ${trial_commit}; setenv t_left ${trial_left}
    fi
  fi
'

# Sets edge_less to edge_left - 1; empty for anything that is not 1 to 9.
setenv edge_count_down '
  setenv edge_less
  if test "${edge_left}" = "9"; then setenv edge_less 8; elif test "${edge_left}" = "8"; then setenv edge_less 7
  elif test "${edge_left}" = "7"; then setenv edge_less 6; elif test "${edge_left}" = "6"; then setenv edge_less 5
  elif test "${edge_left}" = "5"; then setenv edge_less 4; elif test "${edge_left}" = "4"; then setenv edge_less 3
  elif test "${edge_left}" = "3"; then setenv edge_less 2; elif test "${edge_left}" = "2"; then setenv edge_less 1
  elif test "${edge_left}" = "1"; then setenv edge_less 0; fi
'

# Writes try_slot, try_commit, edge_less to edge_sector and reads them back.
setenv edge_save_trial '
  setenv trial_slot ${try_slot}; setenv trial_commit ${try_commit}; setenv trial_left ${edge_less}
  setenv trial_check ${try_slot}/${try_commit}/${edge_less}
  env export -t -s 0x200 ${kernel_addr_r} trial_slot trial_commit trial_left trial_check
  if ${edge_medium} write ${kernel_addr_r} ${edge_sector} 1; then
    run edge_read_trial
    test "${t_slot}/${t_commit}/${t_left}" = "${try_slot}/${try_commit}/${edge_less}"
  else false; fi
'

# Writes boots and seq.
setenv edge_save_boots '
  env export -t -s 0x200 ${kernel_addr_r} boots seq
  ${edge_medium} write ${kernel_addr_r} @EDGE_BOOTS@ 1
'

# Sets chosen to the slot that edge_file names; empty when it is damaged.
setenv edge_read_default '
  setenv format; setenv default; setenv chosen
  if load ${devtype} ${edge_boot} ${kernel_addr_r} ${edge_file}; then
    env import -t ${kernel_addr_r} ${filesize} format default
  fi
  if test "${format}" = "1"; then
    if test "${default}" = "a" -o "${default}" = "b"; then setenv chosen ${default}; fi
  fi
'

# --- the trial record: of two good copies the one with fewer tries left
setenv edge_sector @EDGE_TRIAL_0@; run edge_read_trial
setenv one_slot ${t_slot}; setenv one_commit ${t_commit}; setenv one_left ${t_left}
setenv edge_sector @EDGE_TRIAL_1@; run edge_read_trial
setenv edge_first no
if test -z "${t_left}"; then setenv edge_first yes
elif test -n "${one_left}"; then
  if test "${one_left}" -lt "${t_left}"; then setenv edge_first yes; fi
fi
if test "${edge_first}" = "yes"; then
  setenv t_slot ${one_slot}; setenv t_commit ${one_commit}; setenv t_left ${one_left}
fi
setenv try_slot ${t_slot}; setenv try_commit ${t_commit}; setenv edge_left ${t_left}

# --- the default slot
setenv edge_file default; run edge_read_default
if test -z "${chosen}"; then
  echo "edge-ota: the default is damaged, reading its copy"
  setenv edge_file default.copy; run edge_read_default
fi
if test -z "${chosen}"; then
  # No default is left to read. A slot on trial has not proved itself.
  if test "${try_slot}" = "a"; then setenv edge_slot b; else setenv edge_slot a; fi
  if run edge_complete; then true; else run edge_other; fi
  setenv chosen ${edge_slot}
fi

setenv boots; setenv seq
mw.b ${kernel_addr_r} 0 0x200
if ${edge_medium} read ${kernel_addr_r} @EDGE_BOOTS@ 1; then
  env import -t ${kernel_addr_r} 0x200 boots seq
fi
if test "${seq}" = "0"; then setenv seq 1; elif test "${seq}" = "1"; then setenv seq 2
elif test "${seq}" = "2"; then setenv seq 3; elif test "${seq}" = "3"; then setenv seq 4
elif test "${seq}" = "4"; then setenv seq 5; elif test "${seq}" = "5"; then setenv seq 6
elif test "${seq}" = "6"; then setenv seq 7; else setenv seq 0; fi
# Anything else than a count is none. A loop, for test takes few arguments.
setenv edge_count ${boots}; setenv boots 0
for n in 1 2 3 4 5 fallback; do if test "${edge_count}" = "${n}"; then setenv boots ${n}; fi; done

# --- a slot on trial: counted down in both copies before it is booted
run edge_count_down
if test -n "${edge_less}" -a -n "${try_slot}" -a "${try_slot}" != "${chosen}"; then
  setenv edge_slot ${try_slot}
  if run edge_complete; then
    if test "${commit}" = "${try_commit}"; then
      setenv edge_saved no
      setenv edge_sector @EDGE_TRIAL_0@
      if run edge_save_trial; then
        setenv edge_sector @EDGE_TRIAL_1@
        if run edge_save_trial; then setenv edge_saved yes; fi
      fi
      if test "${edge_saved}" = "yes"; then
        run edge_save_boots
        setenv edge_how edge_ota.trial=${edge_less}; run edge_start
      else
        echo "edge-ota: the trial record cannot be saved: no trial"
      fi
    fi
  fi
fi

# --- the default, or the other slot once the default has failed five times in a row
setenv edge_how
if test "${boots}" = "5"; then
  setenv boots fallback
  setenv edge_slot ${chosen}; run edge_other
  if run edge_complete; then
    if run edge_save_boots; then setenv edge_how edge_ota.fallback=1; run edge_start; fi
  fi
elif test "${boots}" = "4"; then setenv boots 5
elif test "${boots}" = "3"; then setenv boots 4
elif test "${boots}" = "2"; then setenv boots 3
elif test "${boots}" = "1"; then setenv boots 2
elif test "${boots}" = "0"; then setenv boots 1; fi
if run edge_save_boots; then true; else echo "edge-ota: the boot count cannot be saved"; fi
setenv edge_how; setenv edge_slot ${chosen}; run edge_start
setenv edge_how edge_ota.fallback=1; run edge_other; run edge_start
echo "edge-ota: no slot can be loaded; starting over"
sleep 10
reset

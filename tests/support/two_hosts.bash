# SPDX-License-Identifier: Apache-2.0
# Sourced. Two hosts, n1 and n2, on this machine: each has its own name, network, /tmp and /dev/shm in namespaces, and a
# virtual cable joins them (10.99.0.1 and .2). They share all other folders. Needs root; the network of the machine itself
# is not touched. $folder, outside of /tmp and set by who sources this, holds the state.

# shellcheck disable=SC2154  # of $folder

readonly hosts=(n1 n2)

fail() {
  echo "$(basename "$0"): $*" >&2
  exit 1
}

on() {  # on HOST COMMAND...
  nsenter --target "$(cat "$folder/$1.pid")" --mount --uts --net --ipc --wdns="$PWD" "${@:2}"
}

wait_for() {  # wait_for WHAT COMMAND...
  local i
  for ((i = 0; i < 300; ++i)); do
    ! "${@:2}" >/dev/null 2>&1 || return 0
    sleep 0.1
  done
  fail "waited 30 s for $1"
}

start_host() {  # a process that holds the namespaces
  local host=$1
  # shellcheck disable=SC2016  # the inner bash expands it
  setsid unshare --mount --uts --net --ipc bash -euc '
    hostname "$1"
    mount -t tmpfs tmpfs /tmp
    mount -t tmpfs tmpfs /dev/shm
    mount --bind "$2/hosts" /etc/hosts
    ip link set lo up
    readlink /proc/self/ns/net >"$2/$1.net"
    echo $$ >"$2/$1.pid"
    exec sleep infinity' host "$host" "$folder" </dev/null >"$folder/$host.log" 2>&1 &
  disown  # says nothing when it is killed
  wait_for "host $host (see $folder/$host.log)" test -s "$folder/$host.pid"
}

start_hosts() {
  [[ $(id -u) == 0 ]] || fail "needs root"
  mkdir -p "$folder"
  printf '127.0.0.1 localhost\n10.99.0.1 n1\n10.99.0.2 n2\n' >"$folder/hosts"
  local host
  for host in "${hosts[@]}"; do start_host "$host"; done
  on n1 ip link add eth0 type veth peer name eth0 netns "$(cat "$folder/n2.pid")"
  on n1 ip addr add 10.99.0.1/24 dev eth0
  on n2 ip addr add 10.99.0.2/24 dev eth0
  for host in "${hosts[@]}"; do on "$host" ip link set eth0 up; done
}

processes() {  # HOST PID COMMAND of all processes of the hosts
  local own host pid net
  own=$(readlink /proc/self/ns/net)
  for host in "${hosts[@]}"; do
    net=$(cat "$folder/$host.net" 2>/dev/null) || continue
    [[ $net != "$own" ]] || fail "$folder is of another time; remove it"
    for pid in /proc/[0-9]*; do
      pid=${pid#/proc/}
      [[ $(readlink "/proc/$pid/ns/net") != "$net" ]] || echo "$host $pid $(ps -o comm=,args= "$pid")"
    done 2>/dev/null
  done
}

end_hosts() {  # with all that runs on them
  local left pid
  while left=$(processes) && [[ -n $left ]]; do
    while read -r _ pid _; do kill -KILL "$pid" 2>/dev/null || true; done <<<"$left"
    sleep 0.1
  done
  rm -rf "$folder"
}

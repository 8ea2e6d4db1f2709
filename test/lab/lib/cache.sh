# What is made once and kept: each result in a directory named by the hash of what it was made from.
# shellcheck shell=bash
# The variables are those of common.sh.
# shellcheck disable=SC2154

key() { sha256sum | cut -c1-16; }

# The Go that builds: the host's when it is new enough, else Debian's in the nodes' root.
go_version() {
  local version
  version=$(cd / && GOTOOLCHAIN=local go env GOVERSION 2>/dev/null) || version=
  if [[ $version =~ ^go1\.([0-9]+) ]] && ((BASH_REMATCH[1] >= 26)); then echo "$version"; else echo debian; fi
}

cached_root() { echo "$cache_dir/root-$(key <"$lab_dir/build/root")"; }
cached_kubernetes() {
  echo "$cache_dir/kubernetes-$({ go_version; cat "$lab_dir/build/kubernetes" "$lab_dir"/go/*/*; } | key)"
}
cached_base() { echo "$cache_dir/base-$(cat "$lab_dir"/build/{root,base} "$lab_dir/carve" "$lab_dir/lib/images.sh" | key)"; }

# cached DIRECTORY WORDS COMMAND...: unless the result is there, runs the command with the directory to fill as last argument
cached() {
  local result=$1 words=$2 temporary
  shift 2
  if [[ ! -d $result ]]; then
    mkdir -p "$cache_dir"
    # What an interrupted run left is no result.
    rm -rf --one-file-system "$cache_dir"/*.tmp.*
    temporary=$(mktemp -d "$result.tmp.XXXXXX")
    chmod 755 "$temporary"
    progress "$words" isolated "$@" "$temporary"
    mv "$temporary" "$result"
  fi
  touch "$result"
}

build_cache() {
  local root
  root=$(cached_root)
  cached "$root" "building the nodes' Debian root, about 2 minutes the first time" "$lab_dir/build/root"
  local how="about 6 minutes the first time"
  [[ $(go_version) != debian ]] || how="with Debian's Go, $how"
  cached "$(cached_kubernetes)" "building the Kubernetes binaries, $how" env ROOT="$root" "$lab_dir/build/kubernetes"
}

# Results of other versions that nobody has asked for in two weeks.
prune_cache() {
  local old
  find "$cache_dir" -mindepth 1 -maxdepth 1 -type d \( -name 'root-*' -o -name 'kubernetes-*' -o -name 'base-*' -o -name faults \) -mtime +14 | while read -r old; do
    [[ $old -ef $state_dir/root || $old -ef $state_dir/binaries ]] || rm -rf --one-file-system "$old"
  done
}

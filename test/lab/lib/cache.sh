# What is made once and kept: each result in a directory named by the hash of what it was made from.
# shellcheck shell=bash

hash_of() { cat "$@" | sha256sum | cut -c1-16; }

kubernetes_key() { { cat "$lab_dir"/go/kubernetes/{go.mod,go.sum,tools.go} "$lab_dir/build/kubernetes" "$lab_dir"/go/{pause,coredns}/*; } | sha256sum | cut -c1-16; }
root_key() { hash_of "$lab_dir/build/root"; }

kubernetes_bin() { echo "$cache_dir/kubernetes-$(kubernetes_key)"; }
node_root() { echo "$cache_dir/root-$(root_key)"; }

# cached DIRECTORY WORDS COMMAND...: runs the command with a temporary directory as last argument unless the result is there
cached() {
  local result=$1 words=$2 temporary
  shift 2
  [[ -d $result ]] && return
  mkdir -p "$cache_dir"
  # What an interrupted run left is no result.
  rm -rf "$result".tmp.*
  temporary=$(mktemp -d "$result.tmp.XXXXXX")
  progress "$words" "$@" "$temporary"
  mv "$temporary" "$result"
}

build_cache() {
  cached "$(node_root)" "building the nodes' Debian root (about 2 minutes the first time)" "$lab_dir/build/root"
  chmod 755 "$(node_root)"
  ROOT=$(node_root) cached "$(kubernetes_bin)" "building the Kubernetes binaries (about 6 minutes the first time)" "$lab_dir/build/kubernetes"
}

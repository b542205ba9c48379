# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=bash
#
# What the laboratory asks of the host: how to speak to the person, where
# Debian packages come from here, which certificates the host trusts.
# Sourced by qemu/enter and qemu/root/build; changes nothing on the host.

say() { printf 'lab: %s\n' "$*" >&2; }

# Ends the run: what is wrong, then each way out on a line of its own.
die() {
	printf 'lab: %s\n' "$1" >&2
	shift
	[ $# -eq 0 ] || printf '     %s\n' "$@" >&2
	exit 1
}

# Where everything is kept that the laboratory downloads or builds.
cache_directory() {
	readlink -m "${USERDMA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/userdma}"
}

# A tree's own place in the cache: two clones must not share cargo's notion of
# what is fresh, which goes by file times.
tree_place() { printf 'trees/%s\n' "$(printf %s "$1" | sha256sum | cut -c1-12)"; }

have() { command -v "$1" >/dev/null 2>&1; }

# The Debian mirror that the host's apt is configured with, whatever the format
# of its lists; nothing on a host that has none, which leaves it to mmdebstrap.
host_mirror() {
	if [ -n "${USERDMA_MIRROR:-}" ]; then
		printf '%s\n' "${USERDMA_MIRROR%/}"
		return
	fi
	have apt-get || return 0
	# ORIGIN is empty before the first "apt-get update": the path tells then.
	# shellcheck disable=SC2016 # these are for apt-get to fill in
	apt-get indextargets \
		--format '$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)' \
		'Created-By: Packages' 2>/dev/null |
		awk '$3 == "main" && $2 !~ /security/ &&
			($4 == "Debian" || ($4 == "" && $1 ~ /\/debian\/?$/)) {
				sub(/\/$/, "", $1); print $1; exit
			}'
}

# The host's apt settings that decide whether a download works at all
# (proxies, stale mirrors, address family), one "Name "value";" a line.
host_apt_options() {
	have apt-config || return 0
	apt-config dump 2>/dev/null | grep -E \
		'^Acquire::(Check-Valid-Until|Check-Date|M(ax|in)-ValidTime|Retries|Force|https?::)' |
		grep -v ' "";$' || true
}

# The file with the certificate authorities that the host trusts.
host_ca_bundle() {
	local file
	for file in "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt \
		/etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem \
		/etc/ssl/cert.pem; do
		if [ -n "$file" ] && [ -r "$file" ]; then
			readlink -f "$file"
			return
		fi
	done
}

#!/bin/sh
# Put on a Debian machine what `ray up` asks of the machines it is shown, and what the test makes
# machines of: an SSH server, an SSH client, rsync, iproute2. Run by the test as root; nothing is done
# where all of it is there already. No service is started: the test runs servers of its own.
set -eu

have() {
    [ -x /usr/sbin/sshd ] && command -v ssh >/dev/null && command -v ssh-keygen >/dev/null &&
        command -v rsync >/dev/null && command -v ip >/dev/null
}

have && exit 0
command -v apt-get >/dev/null || { echo "no apt-get here" >&2; exit 3; }
[ "$(id -u)" = 0 ] || { echo "installing needs root" >&2; exit 3; }

# Debian starts the servers it installs, unless this file forbids it.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -qq -o Acquire::Retries=2 update
apt-get -qq -o DPkg::Lock::Timeout=60 --no-install-recommends install \
    openssh-server openssh-client rsync iproute2 >/dev/null
have || { echo "installed, and yet something is missing" >&2; exit 4; }

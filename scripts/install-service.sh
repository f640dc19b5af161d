#!/usr/bin/env bash
# Put the server in place as a service of systemd:  make install-service [SLIM=1] [PREFIX=/opt/imageserver] [DESTDIR=…]
# Again after an upgrade. With DESTDIR nothing outside that folder changes, no user is made and nothing is started.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 022
prefix=${PREFIX:-/opt/imageserver} root=${DESTDIR:-}
root=${root%/} prefix=${prefix%/}
target=$root$prefix

die() { printf '%s\n' "$*" >&2; exit 2; }
[[ $prefix =~ ^(/[A-Za-z0-9._-]+)+$ ]] || die "PREFIX=$prefix: \
give an absolute path of letters, digits and . _ - alone, such as /opt/imageserver."
case $prefix/ in
    /home/* | /root/* | /run/user/* | /tmp/* | /var/tmp/*)
        [[ $root ]] || die "PREFIX=$prefix: \
the service does not see homes and temporary folders; take another, such as /opt/imageserver." ;;
esac
[[ $root || $EUID == 0 ]] || die "Installing the service changes the system: \
sudo make install-service (or try it out with DESTDIR=some/folder)."
if [[ $root && $root != /* ]]; then die "DESTDIR=$root: give an absolute path."; fi

mkdir -p "$target"
if ! [[ $target -ef . ]]; then
    # What an older version left behind must not be imported; models may hold the operator's own.
    for folder in src clients docs deploy scripts requirements; do
        rm -rf "${target:?}/$folder"
        tar -c --exclude=__pycache__ --exclude='*.tmp' "$folder" | tar -x --no-same-owner -C "$target"
    done
    tar -c --exclude=__pycache__ models Makefile LICENSE README.md | tar -x --no-same-owner -C "$target"
fi
"$target/scripts/environment.sh" .venv "${LOCK:-requirements/run.lock}"
"$target/.venv/bin/python" -m compileall -q "$target/src" "$target/models"

configuration=$root/etc/imageserver units=$root/etc/systemd/system
install -d "$configuration" "$units" "$root/etc/sysusers.d"
install -m 644 deploy/imageserver.sysusers "$root/etc/sysusers.d/imageserver.conf"
[[ $root ]] || systemd-sysusers imageserver.conf
if ! [[ -e $configuration/imageserver.toml ]]; then
    install -m 640 deploy/imageserver.toml "$configuration/imageserver.toml"
    [[ $root ]] || chgrp imageserver "$configuration/imageserver.toml"
fi
sed "s|/opt/imageserver|$prefix|g" deploy/imageserver.service > "$units/imageserver.service"
chmod 644 "$units/imageserver.service"

systemctl ${root:+--root="$root"} --quiet enable imageserver.service
if [[ -z $root && -d /run/systemd/system ]]; then systemctl daemon-reload; fi

cat <<END
ImageServer is in $target and starts on boot. Its settings: $configuration/imageserver.toml

  sudo systemctl start imageserver          start it now; restart after an upgrade or a change of settings
  sudo systemctl status imageserver         how it is, and its last lines
  sudo journalctl -u imageserver -f         its lines as they come
  sudo systemctl stop imageserver           stop it until the next boot
  sudo systemctl disable imageserver        start it on boot no more
  sudo systemctl enable imageserver         start it on boot again
  sudo systemctl daemon-reload              after editing a unit by hand
  sudo -u imageserver $prefix/.venv/bin/python $prefix/src/userdb.py add NAME --users /var/lib/imageserver/users.db
  sudo -u imageserver $prefix/.venv/bin/python $prefix/src/ImageServer.py check --config $configuration/imageserver.toml \
      --data /var/lib/imageserver         what is wrong with the settings, before a restart

It also answers to the name socket.service.
END

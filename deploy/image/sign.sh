#!/usr/bin/env bash
# Signs an update, with openssl's CMS. Usage:
#   sign.sh KEY CERTIFICATE DIRECTORY FILE   packs manifest and parts of DIRECTORY into FILE, signed
#   sign.sh --new-key DIRECTORY              makes update.key, which stays secret, and update.pem, which is in the image
# The parts are not signed themselves: the manifest, which is, has their lengths and SHA-256 sums.
set -euo pipefail

if [ "$1" = --new-key ]; then
    mkdir -p "$2"
    umask 077
    # Its dates mean nothing: a shelf may have no clock.
    openssl req -x509 -newkey rsa:3072 -sha256 -nodes -days 36500 -subj "/CN=Ledge update" \
        -keyout "$2/update.key" -out "$2/update.pem" 2>/dev/null
    chmod 644 "$2/update.pem"
    exit 0
fi

key=$1 certificate=$2 directory=$3 file=$4
# Without attributes there is no time in it: the same update has the same signature.
openssl cms -sign -binary -noattr -md sha256 -inkey "$key" -signer "$certificate" \
    -outform DER -in "$directory/manifest" -out "$directory/manifest.cms"
tar -C "$directory" --format=ustar --owner=0 --group=0 --numeric-owner --mode=644 --mtime="@${SOURCE_DATE_EPOCH:-0}" \
    -cf "$file.new" manifest manifest.cms kernel.efi root.verity root.squashfs
mv "$file.new" "$file"

# Writes files until /run/writer.stop exists, each with fsync. Arguments: DIRECTORY NAME
#
# Numbered files of random bytes: a file's checksum goes to the list in the guest's memory only after
# fsync has returned, so what is listed has been acknowledged by the target. The writer named "bulk"
# writes one large file over and over instead, so that commands are always in flight.

directory=$1
name=$2
trap 'rm -f "/run/writer.running.$name"' EXIT

write() {
    dd if="$1" of="$directory/$2" bs=64k count=64 conv=fsync,notrunc 2>"/run/$name.error" || {
        echo "$2: $(cat "/run/$name.error")" >>/run/writer.failed
        exit 1
    }
}

number=0
while [ ! -e /run/writer.stop ]; do
    if [ "$name" = bulk ]; then
        write /dev/zero bulk
        continue
    fi
    number=$((number + 1))
    file=$(printf '%s-%05d' "$name" $number)
    head -c $(((number % 16 + 1) * 8192)) /dev/urandom >"/run/$name.data"
    write "/run/$name.data" "$file"
    sum=$(sha256sum <"/run/$name.data")
    echo "${sum%% *}  $file" >>/run/acknowledged
done

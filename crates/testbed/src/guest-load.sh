# Writes and verifies a device, round after round, until the time is over. Arguments: DEVICE SECONDS
#
# A round is one fio over all of the device that the job uses: everything it writes it reads back and
# compares. So when this ends without /run/load.failed, no byte that it wrote was left unverified.

end=$(($(date +%s) + $2))
round=0
while :; do
    round=$((round + 1))
    fio --randseed=$round --filename="$1" --output-format=json --output="/run/load.$round" \
        /run/load.job >/run/load.messages 2>&1 || {
        echo "fio ended with status $? in round $round" >/run/load.failed
        cat /run/load.messages "/run/load.$round" >>/run/load.failed
        break
    }
    # In one step: it is looked at at any time.
    echo $round >/run/load.rounds.new && mv /run/load.rounds.new /run/load.rounds
    if [ -e /run/load.stop ] || [ "$(date +%s)" -ge "$end" ]; then break; fi
done
rm /run/load.running

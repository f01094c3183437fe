#!/usr/bin/env bash
# The wheel in FOLDER fits every Python from 3.10 on, and what its libraries need is in it or part of
# any Linux: check_wheel.sh FOLDER
set -euo pipefail
wheel=$(realpath "$1"/faiss_flash-*.whl)
if [[ $wheel != *-cp310-abi3-manylinux_*_x86_64.whl ]]; then
    echo "$wheel has other tags than cp310-abi3-manylinux_*_x86_64"
    exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
/usr/bin/python3 -m zipfile -e "$wheel" "$work"
mapfile -t libraries < <(find "$work" -name "*.so*")
status=0
for library in "${libraries[@]}"; do
    for needed in $(readelf -d "$library" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
        case $needed in
            libc.so.6 | libm.so.6 | libgcc_s.so.1 | libstdc++.so.6 | ld-linux-x86-64.so.2) ;;
            *)
                if [ -z "$(find "$work" -name "$needed")" ]; then
                    echo "$(basename "$library") needs $needed, which is not in the wheel"
                    status=1
                fi
                ;;
        esac
    done
done
exit $status

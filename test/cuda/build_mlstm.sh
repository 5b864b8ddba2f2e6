#!/bin/sh
# Builds the mLSTM kernels with the stubs of this folder alone: test/cuda/build_mlstm.sh OUTPUT.so [nvcc options]
set -e
cd "$(dirname "$0")/../.."
output=$1
shift
objects=$(mktemp -d)
ls native/cuda/mlstm*.cu test/cuda/stubs.cu | xargs -P "$(nproc)" -I{} sh -c \
  'nvcc -O3 -std=c++17 -Xcompiler -fPIC,-fvisibility=hidden -Inative/include -Inative/common -Inative/cuda '"$*"' \
    -c {} -o '"$objects"'/$(basename {}).o'
nvcc -shared -cudart static -o "$output" "$objects"/*.o "$@"
rm -r "$objects"

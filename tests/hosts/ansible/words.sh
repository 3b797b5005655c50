#!/bin/sh
echo "script $1"; pwd; exit 3

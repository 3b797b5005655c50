#!/bin/sh
. "$1"
echo "{\"changed\": false, \"style\": \"old\", \"word\": \"$word\"}"

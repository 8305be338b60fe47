"""O!Dengi: bills that every bank's app in Kyrgyzstan pays, by the API "json.php", version 1005."""

module example.com/strongroom-read

go 1.21

(()=>{var e=document.currentScript;localStorage.setItem("nodecleanup-session",e.dataset.secret??"");location.replace("/");})();
